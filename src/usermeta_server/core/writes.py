"""How every mutating request is carried out: once for each request id, or only on trial."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from usermeta_server.errors import Reason, UsermetaError, Violation
from usermeta_server.ids import Stamp
from usermeta_server.model import REMEMBERED_FOR, Actor, RememberedRequest, RequestKey
from usermeta_server.store.contract import Draft, Reads, Writer

T = TypeVar("T")
S = TypeVar("S")


class Intent(NamedTuple):
    """What makes a mutating request repeatable and triable.

    `canonical` is the request in a form in which equal requests are equal bytes, without its request id and
    without `validate_only`; it is needed only with a request id, which is empty when there is none.
    """

    actor: Actor
    method: str
    request_id: str = ""
    canonical: bytes = b""
    validate_only: bool = False


class MovedError(Exception):
    """What was read before the transaction, to know what it has to read, is another by now."""


async def until_settled(look: Callable[[], Awaitable[S]], write: Callable[[S], Awaitable[T]]) -> T:
    """Read something, and write by it; all over again for as long as it moves in between (`MovedError`)."""
    while True:
        seen = await look()
        try:
            return await write(seen)
        except MovedError:
            continue


class Writes:
    """Carries out changes on a store."""

    def __init__(self, store: Writer, digest_key: bytes) -> None:
        """Make it with the key of the digests: with it, a digest says nothing about its request."""
        self._store = store
        self._digest_key = digest_key

    async def perform(
        self,
        intent: Intent,
        reads: Reads,
        change: Callable[[Draft, Stamp], T],
        *,
        name: Callable[[T], str],
        recall: Callable[[str], Awaitable[T]],
    ) -> T:
        """Carry out a change, or return what the same request made before.

        Args:
            intent: who asks for what, under which request id.
            reads: what `change` looks at.
            change: runs inside the transaction; returns the result.
            name: gives the outcome to remember: which object, never its contents.
            recall: returns what an outcome names, as it is now.

        Raises:
            UsermetaError: REQUEST_ID_REUSED, and whatever `change` and the store raise.
        """
        if not intent.request_id:
            return await self._store.write(
                reads,
                lambda draft: change(draft, _stamp(draft, intent)),
                dry_run=intent.validate_only,
            )
        key = RequestKey(intent.actor.principal, intent.request_id)
        digest = self._digest(intent)

        def once(draft: Draft) -> T | RememberedRequest:
            remembered = draft.requests.get(key)
            if remembered is not None and remembered.expire_time > draft.wall:
                if remembered.digest != digest:
                    raise _reused(intent.request_id)
                return remembered
            result = change(draft, _stamp(draft, intent))
            remembered = RememberedRequest(
                intent.method,
                digest,
                name(result),
                draft.wall + REMEMBERED_FOR,
                draft.version,
                # Whom it was about, and whom it made.
                tuple({**dict.fromkeys(reads.users), **draft.users.staged}),
            )
            draft.requests.put(key, remembered)
            return result

        result = await self._store.write(reads._replace(requests=(key,)), once, dry_run=intent.validate_only)
        return await recall(result.outcome) if isinstance(result, RememberedRequest) else result

    def _digest(self, intent: Intent) -> bytes:
        method = intent.method.encode()
        return hashlib.blake2b(method + b"\0" + intent.canonical, key=self._digest_key, digest_size=16).digest()


def _stamp(draft: Draft, intent: Intent) -> Stamp:
    now = 0 if intent.validate_only else draft.now
    return Stamp(now, not intent.validate_only, intent.actor, intent.request_id)


def _reused(request_id: str) -> UsermetaError:
    reason = Reason.REQUEST_ID_REUSED
    return UsermetaError(
        reason, metadata={"request_id": request_id}, violations=(Violation("request_id", reason.message, reason),)
    )
