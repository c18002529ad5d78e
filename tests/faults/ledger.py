"""What a server acknowledged, and whether it still stands."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import grpc
from google.protobuf.struct_pb2 import Struct

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User

if TYPE_CHECKING:  # this name is only in the stubs
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub

DOCUMENTS: Final = ("public_metadata", "private_metadata", "unsafe_metadata")
COUNTER: Final = "user_counter"
PAGE: Final = 100
NEVER: Final = sys.maxsize


class Fault(Enum):
    """What can be wrong: an acknowledged write is gone, one counts twice, one is there by half; or anything else."""

    LOST = "lost"
    DOUBLED = "doubled"
    TORN = "torn"
    WRONG = "otherwise wrong"


class Flaw(NamedTuple):
    """One thing that is not as promised."""

    fault: Fault
    text: str


class State(NamedTuple):
    """What a user is: the number that its documents hold, and their etags."""

    number: int
    etags: bytes


GONE: Final = State(0, b"")
"""A user that is not there, before it is made and after it was deleted."""
TORN: Final = -1
"""The number of a user whose documents don't agree on one."""


@dataclass
class Write:
    """A write to a user: what its documents hold after it (0: it is gone), and when it was sent and acknowledged.

    Times are the ledger's: places in the journal of the disk, if there is one. `etags` came with the acknowledgement.
    """

    number: int
    sent: int
    acknowledged: int = NEVER
    etags: bytes = b""


@dataclass
class Increment:
    """An increment of the counter, and when it was sent and acknowledged."""

    request: pb.PatchUserMetadataRequest
    sent: int
    acknowledged: int = NEVER


E = TypeVar("E", Write, Increment)


class Ledger:
    """All writes that were sent. To one user there is one at a time, so that only the last one can be unknown."""

    def __init__(self, now: Callable[[], int] = lambda: 0) -> None:
        """Begin with a counter at 0 and no users; `now` tells the time."""
        self.now = now
        self.users: dict[str, list[Write]] = {}
        self.increments: list[Increment] = []

    def until(self, time: int) -> "Ledger":
        """Return the ledger as it was at a time."""
        found = Ledger()
        for user_id, writes in self.users.items():
            found.users[user_id] = [_until(each, time) for each in writes if each.sent <= time]
        found.increments = [_until(each, time) for each in self.increments if each.sent <= time]
        return found

    def sending(self, user_id: str, number: int) -> Write:
        """Note that a write is sent, and return it, to be acknowledged."""
        write = Write(number, self.now())
        self.users.setdefault(user_id, []).append(write)
        return write

    def acknowledge(self, write: Write, etags: bytes) -> None:
        """Note that a write was answered, with these etags."""
        write.acknowledged, write.etags = self.now(), etags

    def state(self, user_id: str) -> State:
        """Return what a user was acknowledged to be."""
        return next((State(each.number, each.etags) for each in self._known(user_id)), GONE)

    def _known(self, user_id: str) -> Iterator[Write]:
        return (each for each in reversed(self.users.get(user_id, ())) if each.acknowledged != NEVER)

    def acknowledged(self) -> int:
        """Return how many writes were answered."""
        entries: Iterator[Write | Increment] = chain(self.increments, *self.users.values())
        return sum(each.acknowledged != NEVER for each in entries)

    async def check(self, stub: "BackendServiceAsyncStub") -> list[Flaw]:
        """Compare with a server and return what is wrong. How the unknown turned out is known from then on."""
        flaws: list[Flaw] = []
        user_ids = list(self.users)
        for start in range(0, len(user_ids), PAGE):
            page = user_ids[start : start + PAGE]
            reply = await stub.BatchGetUsers(pb.BatchGetUsersRequest(user_ids=page))
            found = {user.id: state_of(user) for user in reply.users}
            for user_id in page:
                flaws += self._compare(user_id, found.get(user_id, GONE))
                if user_id not in found and self.state(user_id) == GONE and await _holder(stub, user_id):
                    flaws.append(Flaw(Fault.TORN, f"{user_id}: its name is not free"))
        return flaws + await self._check_counter(stub)

    def _compare(self, user_id: str, found: State) -> Iterator[Flaw]:
        writes, expected = self.users[user_id], self.state(user_id)
        pending = writes[-1] if writes and writes[-1].acknowledged == NEVER else None
        if found == expected:
            if pending is not None:
                writes.remove(pending)
        elif pending is not None and found.number == pending.number:
            self.acknowledge(pending, found.etags)
        else:
            whole = found.number not in (TORN, expected.number)
            sent = f"{pending.number} was not answered" if pending else "nothing else was sent"
            text = f"{user_id}: is {found.number}, {expected.number} was acknowledged, {sent}"
            yield Flaw(Fault.LOST if whole else Fault.TORN, text)

    async def _check_counter(self, stub: "BackendServiceAsyncStub") -> list[Flaw]:
        """Look at the counter, send again what was not answered, and look again."""
        pending = [each for each in self.increments if each.acknowledged == NEVER]
        highest = len(self.increments)
        flaws = _between(highest - len(pending), await count(stub), highest)
        for increment in pending:
            await stub.PatchUserMetadata(increment.request)
            increment.acknowledged = self.now()
        return flaws or _between(highest, await count(stub), highest)


def _until(entry: E, time: int) -> E:
    return replace(entry) if entry.acknowledged <= time else replace(entry, acknowledged=NEVER)


def _between(lowest: int, found: int, highest: int) -> list[Flaw]:
    text = f"the counter is {found}, not {lowest} to {highest}"
    if found < lowest:
        return [Flaw(Fault.LOST, text)]
    return [Flaw(Fault.DOUBLED, text)] if found > highest else []


async def count(stub: "BackendServiceAsyncStub") -> int:
    """Return the counter."""
    user = (await stub.GetUser(pb.GetUserRequest(user_id=COUNTER))).user
    return int(user.public_metadata.fields["count"].number_value)


def documents(number: int) -> dict[str, Any]:
    """Return three documents that hold a number."""
    made = Struct()
    made.update({"number": number, "padding": "x" * 200})
    return dict.fromkeys(DOCUMENTS, made)


def etags_of(user: User) -> bytes:
    """Return the etags of a user's documents."""
    return user.metadata_etags.SerializeToString(deterministic=True)


def state_of(user: User) -> State:
    """Return what a user is."""
    numbers = {int(getattr(user, each).fields["number"].number_value) for each in DOCUMENTS}
    return State(numbers.pop() if len(numbers) == 1 else TORN, etags_of(user))


async def _holder(stub: "BackendServiceAsyncStub", username: str) -> str:
    try:
        return (await stub.GetUser(pb.GetUserRequest(username=username))).user.id
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return ""
