"""The load: writers, each with one write under way, which note in a ledger what they sent and what was answered.

They try again what was refused or not answered in time, under the same request id, as clients should.
"""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value

from tests.faults.ledger import COUNTER, GONE, Increment, Ledger, documents, etags_of
from tests.support import read_error
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.type.v1.patch_pb2 import PatchOperation

if TYPE_CHECKING:  # this name is only in the stubs
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub

_RETRIED: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_BACK_OFF_SECONDS: Final = 0.05


class EndedError(Exception):
    """The load has ended; what was under way stays unknown."""


class Load:
    """Writers that write until `end`."""

    def __init__(
        self, stub: "BackendServiceAsyncStub", ledger: Ledger, numbers: Iterator[int], *, deadline: float = 60
    ) -> None:
        """Write over a stub, with a deadline in seconds for each try, numbers that no other load uses, and a ledger."""
        self._stub = stub
        self._ledger = ledger
        self._numbers = numbers
        self._deadline = deadline
        self._ended = False
        self._made: dict[str, list[str]] = {}
        self._more = asyncio.Event()
        self.acknowledged: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def end(self) -> None:
        """Begin nothing new, and try nothing again."""
        self._ended = True

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something is so; it is looked at whenever a write has been answered."""
        while not reached():
            self._more.clear()
            await self._more.wait()

    async def write(self, user_id: str, chance: random.Random) -> None:
        """Write to a user of this writer's own, make and delete others, and increment the counter."""
        acts = (self._merge, self._create, self._increment, self._delete)
        try:
            while not self._ended:
                (act,) = chance.choices(acts, (8, 6, 8, 1))
                await act(user_id)
                self.acknowledged[act.__name__.lstrip("_")] += 1
                self._more.set()
        except EndedError:
            pass

    async def _merge(self, user_id: str) -> None:
        if self._ledger.state(user_id) == GONE:
            await self._make(user_id)
        number = next(self._numbers)
        request = pb.MergeUserMetadataRequest(user_id=user_id, **documents(number), request_id=str(uuid.uuid4()))
        write = self._ledger.sending(user_id, number)
        reply = await self._call(self._stub.MergeUserMetadata, request)
        self._ledger.acknowledge(write, etags_of(reply.user))

    async def _create(self, user_id: str) -> None:
        made = f"{user_id}_{next(self._numbers)}"
        await self._make(made)
        self._made.setdefault(user_id, []).append(made)

    async def _make(self, user_id: str) -> None:
        number = next(self._numbers)
        user = User(username=user_id, **documents(number))
        request = pb.CreateUserRequest(user=user, user_id=user_id, request_id=str(uuid.uuid4()))
        write = self._ledger.sending(user_id, number)
        reply = await self._call(self._stub.CreateUser, request)
        self._ledger.acknowledge(write, etags_of(reply.user))

    async def _delete(self, user_id: str) -> None:
        if not self._made.get(user_id):
            await self._create(user_id)
        gone = self._made[user_id].pop()
        request = pb.DeleteUserRequest(user_id=gone, request_id=str(uuid.uuid4()))
        write = self._ledger.sending(gone, GONE.number)
        await self._call(self._stub.DeleteUser, request, done=grpc.StatusCode.NOT_FOUND)
        self._ledger.acknowledge(write, GONE.etags)

    async def _increment(self, _: str) -> None:
        operation = PatchOperation(op=PatchOperation.OP_INCREMENT, path="/count", value=Value(number_value=1))
        request = pb.PatchUserMetadataRequest(
            user_id=COUNTER, public_metadata=[operation], request_id=str(uuid.uuid4())
        )
        increment = Increment(request, self._ledger.now())
        self._ledger.increments.append(increment)
        await self._call(self._stub.PatchUserMetadata, request)
        increment.acknowledged = self._ledger.now()

    async def _call(
        self,
        method: Callable[..., Awaitable[Any]],
        request: Message,
        *,
        done: grpc.StatusCode | None = None,
    ) -> Any:  # noqa: ANN401  # its reply
        """Call until it is answered. With the status `done` a second try says that the first one did it."""
        tries = 0
        while True:
            tries += 1
            try:
                return await method(request, timeout=self._deadline)
            except grpc.aio.AioRpcError as error:
                if tries > 1 and error.code() is done:
                    return None
                if error.code() not in _RETRIED:
                    raise
                if self._ended:
                    raise EndedError from error
                self.refused[reason_of(error)] += 1
                self._more.set()
            await asyncio.sleep(_BACK_OFF_SECONDS)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason that the server gave, and its cause if it named one; or the status of an error of gRPC's."""
    if not any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ()):
        return error.code().name
    refusal = read_error(error)
    return f"{refusal.reason} {refusal.metadata.get('cause', '')}".rstrip()
