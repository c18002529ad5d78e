"""The use cases about history: list what was written, and write it again."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from usermeta_server import policy
from usermeta_server.caller import Caller
from usermeta_server.core.documents import load
from usermeta_server.core.metadata import Edit, Metadata, MetadataWrite
from usermeta_server.core.user_refs import Subject, UserRef, acting_on, look_up
from usermeta_server.core.writes import Intent
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Change, Document, User
from usermeta_server.store.contract import ChangeLog, Reader


class Restoration(NamedTuple):
    """What is to be restored: documents of a user, as they were right after a change; and the etags that it expects."""

    user: UserRef
    change_id: int
    documents: Collection[Document]
    expected_etags: Mapping[Document, str]


class History:
    """The use cases about history."""

    def __init__(self, log: ChangeLog, reader: Reader, metadata: Metadata) -> None:
        """Make them with the use cases that write documents: restoring is such a write."""
        self._log = log
        self._reader = reader
        self._metadata = metadata

    async def list(self, user: UserRef, before_id: int, limit: int) -> Sequence[Change]:
        """Return up to `limit` changes of a user, newest first; with `before_id` those older than that change.

        Raises:
            UsermetaError: USER_NOT_FOUND.
        """
        user_id = (await look_up(self._reader, user)).user_id
        changes = await self._log.user_changes(user_id, before_id, limit)
        if not changes and not before_id and await self._reader.user(user_id) is None:
            raise UsermetaError(Reason.USER_NOT_FOUND)
        return changes

    async def restore(self, caller: Caller, restoration: Restoration, intent: Intent) -> User:
        """Write documents as they were right after a change.

        Raises:
            UsermetaError: USER_NOT_FOUND, CHANGE_NOT_FOUND, ETAG_MISMATCH, and what limits raise.
        """
        return await acting_on(
            self._reader, restoration.user, lambda found: self._restore(caller, restoration, found, intent)
        )

    async def _restore(self, caller: Caller, restoration: Restoration, subject: Subject, intent: Intent) -> User:
        user_id, documents = subject.user_id, restoration.documents
        change = await self._log.find_change(user_id, restoration.change_id)
        then = change.after if change else None

        def check(user: User) -> None:
            # Erased since it was read, and the id given to another: then it is no change of this user.
            if then is None or then.create_version != user.create_version:
                raise UsermetaError(Reason.CHANGE_NOT_FOUND)

        edits = {document: _as_in(then, document) for document in documents} if then else {}
        grant = policy.grant_write(caller, user_id, documents)
        write = MetadataWrite(caller, grant, edits, restoration.expected_etags, check, subject.found_by)
        return await self._metadata.write(write, intent)


def _as_in(then: User, document: Document) -> Edit:
    """Return the edit that makes of a document what it was."""
    return lambda _: load(then.document(document))
