"""Writing documents: merge, replace and patch are one operation with three kinds of edit."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from usermeta_server import policy
from usermeta_server.caller import Caller
from usermeta_server.core.documents import Limits, load, seal_all
from usermeta_server.core.revision import check_etags, revise
from usermeta_server.core.user_refs import reads_of, user_in
from usermeta_server.core.writes import Intent, Writes
from usermeta_server.errors import Reason, Status, UsermetaError, Violation, together
from usermeta_server.ids import Stamp
from usermeta_server.model import Document, Identifier, User
from usermeta_server.policy import AllowedWrite, WriteGrant
from usermeta_server.store.contract import Draft, Reader, Reads
from usermeta_server.values import JsonObject

Edit = Callable[[JsonObject], JsonObject]
"""What becomes of a document: a pure function, that leaves its argument as it is."""


def _anyone(_: User) -> None:
    """Ask nothing of a user."""


class MetadataWrite(NamedTuple):
    """A write of documents that the policy granted: the edits, and the etags that it expects.

    `check` raises if the user is not the one that it is meant for; `found_by` is the identifier by which the request
    names the user, if it does not by the id.
    """

    caller: Caller
    grant: WriteGrant[User]
    edits: Mapping[Document, Edit]
    expected_etags: Mapping[Document, str]
    check: Callable[[User], None] = _anyone
    found_by: Identifier | None = None


class Metadata:
    """The use cases that write documents."""

    def __init__(self, store: Reader, writes: Writes, limits: Limits) -> None:
        """Make them with the limits that every document keeps."""
        self._store = store
        self._writes = writes
        self._limits = limits

    async def write(self, write: MetadataWrite, intent: Intent) -> User:
        """Edit documents of one user, and return the user after it.

        Raises:
            UsermetaError: ACCESS_DENIED, USER_NOT_FOUND, USER_BANNED, ETAG_MISMATCH, and what edits and limits raise.
            MovedError: the user has the identifier no longer.
        """
        user_id = write.grant.record_id

        async def recall(outcome: str) -> User:
            return policy.admit(write.caller, await self._store.user(outcome))

        return await self._writes.perform(
            intent,
            reads_of(user_id, write.found_by),
            lambda draft, stamp: self._apply(draft, stamp, write),
            name=lambda _: user_id,
            recall=recall,
        )

    async def write_batch(
        self, writes: Sequence[MetadataWrite | UsermetaError], intent: Intent, *, atomic: bool
    ) -> Sequence[User | UsermetaError]:
        """Edit documents of many users in one transaction, and return for each the user after it or why not.

        An item may be an error already, when it is malformed.

        Raises:
            UsermetaError: when `atomic`, the first failing item's, with its `index`, and the bad fields of the other
                malformed items after it.
            MovedError: one of the users has its identifier no longer.
        """
        rejected = [(index, write) for index, write in enumerate(writes) if isinstance(write, UsermetaError)]

        def attempt(draft: Draft, stamp: Stamp, write: MetadataWrite | UsermetaError) -> User:
            if isinstance(write, UsermetaError):
                raise write
            return self._apply(draft, stamp, write)

        def apply(draft: Draft, stamp: Stamp) -> list[User | UsermetaError]:
            results: list[User | UsermetaError] = []
            for index, write in enumerate(writes):
                try:
                    results.append(attempt(draft, stamp, write))
                except UsermetaError as error:
                    if atomic:
                        malformed = [each.of_item(i) for i, each in rejected if i > index and error.violations]
                        raise together([error.of_item(index), *malformed]) from None
                    results.append(error.of_item(index))
            return results

        async def recall(outcome: str) -> list[User | UsermetaError]:
            names = outcome.split()
            users = await self._store.users([name for name in names if name not in Reason.__members__])
            return [_recalled(name, index, users) for index, name in enumerate(names)]

        each_reads = [
            reads_of(write.grant.record_id, write.found_by) for write in writes if isinstance(write, MetadataWrite)
        ]
        return await self._writes.perform(
            intent,
            Reads(
                users=tuple(key for reads in each_reads for key in reads.users),
                identifiers=tuple(key for reads in each_reads for key in reads.identifiers),
            ),
            apply,
            name=lambda results: " ".join(map(_name, results)),
            recall=recall,
        )

    def _apply(self, draft: Draft, stamp: Stamp, write: MetadataWrite) -> User:
        user = policy.admit(write.caller, user_in(draft, write.grant.record_id, write.found_by))
        write.check(user)
        check_etags(write.expected_etags, user.document_etag)
        # All edits before all limits: the order of checks goes over the whole request.
        edited = {document: edit(load(user.document(document))) for document, edit in write.edits.items()}
        return revise(draft, stamp, user, AllowedWrite(write.grant, seal_all(edited, "", self._limits)))


def _name(result: User | UsermetaError) -> str:
    return result.reason.name if isinstance(result, UsermetaError) else result.id


def _recalled(name: str, index: int, users: Mapping[str, User]) -> User | UsermetaError:
    """Return what became of an item: of one that failed, only the reason was kept."""
    if name in users:
        return users[name]
    reason = Reason[name] if name in Reason.__members__ else Reason.USER_NOT_FOUND
    violations = (Violation("metadata", reason.message, reason),) if reason.status is Status.INVALID_ARGUMENT else ()
    return UsermetaError(reason, violations=violations).of_item(index)
