"""The use cases about history: list what was written, and write it again."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from usermeta_server import policy
from usermeta_server.audience import Caller
from usermeta_server.core.documents import JsonObject, load
from usermeta_server.core.metadata import Edit, Metadata, MetadataWrite
from usermeta_server.core.writes import Intent
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Change, Document, User
from usermeta_server.store.base import Store


class Restoration(NamedTuple):
    """What is to be restored: documents of a user, as they were right after a change; and the etags that it expects."""

    user_id: str
    change_id: int
    documents: Collection[Document]
    expected_etags: Mapping[Document, str]


class History:
    """The use cases about history."""

    def __init__(self, store: Store, metadata: Metadata) -> None:
        """Make them with the use cases that write documents: restoring is such a write."""
        self._store = store
        self._metadata = metadata

    async def list(self, user_id: str, before_id: int, limit: int) -> Sequence[Change]:
        """Return up to `limit` changes of a user, newest first; with `before_id` those older than that change.

        Raises:
            UsermetaError: USER_NOT_FOUND.
        """
        changes = await self._store.user_changes(user_id, before_id, limit)
        if not changes and not before_id and await self._store.user(user_id) is None:
            raise UsermetaError(Reason.USER_NOT_FOUND)
        return changes

    async def restore(self, caller: Caller, restoration: Restoration, intent: Intent) -> User:
        """Write documents as they were right after a change.

        Raises:
            UsermetaError: USER_NOT_FOUND, CHANGE_NOT_FOUND, ETAG_MISMATCH, and what limits raise.
        """
        user_id, documents = restoration.user_id, restoration.documents
        change = await self._store.find_change(restoration.change_id)
        then = change.after if change and change.user_id == user_id else None
        edits = {document: _as_in(then, document) for document in documents}
        grant = policy.grant_write(caller, user_id, documents)
        # That the change exists comes before the etags; without it every edit refuses, and no etag is looked at.
        expected = restoration.expected_etags if then else {}
        return await self._metadata.write(MetadataWrite(caller, grant, edits, expected), intent)


def _as_in(then: User | None, document: Document) -> Edit:
    """Return the edit that restores a document; it refuses within the write, for a replay comes before that."""

    def edit(_: JsonObject) -> JsonObject:
        if then is None:
            raise UsermetaError(Reason.CHANGE_NOT_FOUND)
        return load(then.document(document))

    return edit
