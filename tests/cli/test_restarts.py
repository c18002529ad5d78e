"""Restarts under load: whoever retries what is UNAVAILABLE never notices."""

import asyncio
import itertools
import signal
import socket
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import grpc
from google.protobuf.struct_pb2 import Value

from tests.cli.processes import Running, run, served
from tests.support import DEADLINE, bearer
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1 import backend_service_pb2_grpc
from usermeta.type.v1.patch_pb2 import PatchOperation

if TYPE_CHECKING:  # this name is only in the stubs
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub

T = TypeVar("T")

CALLERS: Final = 8
RESTARTS: Final = 3
COUNTER: Final = "user_counter"
ENOUGH: Final = 15
"""How many times each caller has to write and to read between two restarts."""
PAUSE: Final = 0.05
"""Seconds between two tries of a call."""


class Callers:
    """Callers who create, increment and read one after the other, and what they were told."""

    def __init__(self, stub: "BackendServiceAsyncStub", key: str) -> None:
        """Call over a stub, with a key."""
        self._stub = stub
        self._metadata = bearer(key)
        self.rounds = [0] * CALLERS
        self.created: list[str] = []
        self.increments = 0
        self.failures: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        self.done = False

    async def _retried(self, method: Callable[..., Awaitable[T]], request: object) -> T:
        while True:
            try:
                return await method(request, metadata=self._metadata, timeout=DEADLINE)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    self.failures[f"{error.code().name}: {error.details()}"] += 1
                self.retries[str(error.details())] += 1
                await asyncio.sleep(PAUSE)

    async def call(self, caller: int) -> None:
        """Call until it is done."""
        while not self.done:
            create = pb.CreateUserRequest(request_id=str(uuid.uuid4()))
            user_id = (await self._retried(self._stub.CreateUser, create)).user.id
            self.created.append(user_id)
            await self._retried(self._stub.PatchUserMetadata, increment())
            self.increments += 1
            read = await self._retried(self._stub.GetUser, pb.GetUserRequest(user_id=user_id))
            assert read.user.id == user_id
            self.rounds[caller] += 1

    async def all_called(self, times: int) -> None:
        """Wait until each caller has done all it does so many times more."""
        goal = [count + times for count in self.rounds]
        async with asyncio.timeout(6 * DEADLINE):
            while any(count < least for count, least in zip(self.rounds, goal, strict=True)):  # noqa: ASYNC110  # counts
                await asyncio.sleep(0.01)


def increment() -> pb.PatchUserMetadataRequest:
    """Return a request that counts once, however often it is sent."""
    operation = PatchOperation(op=PatchOperation.OP_INCREMENT, path="/count", value=Value(number_value=1))
    return pb.PatchUserMetadataRequest(user_id=COUNTER, public_metadata=[operation], request_id=str(uuid.uuid4()))


async def ends(server: Running) -> None:
    """End a server with SIGTERM, and wait until it has ended well."""
    ended = await asyncio.to_thread(server.end, signal.SIGTERM)
    assert ended.code == 0, ended.err


async def test_three_restarts_lose_no_call_and_double_no_write(tmp_path: Path) -> None:
    key = run(tmp_path, "keys", "create", "callers").out.strip()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100))
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub: BackendServiceAsyncStub = backend_service_pb2_grpc.BackendServiceStub(channel)
        callers = Callers(stub, key)
        calling: list[asyncio.Task[None]] = []
        for number in itertools.count():
            with served(tmp_path, "--listen", address, USERMETA_ACCESS_LOG="off") as server:
                if not calling:
                    await stub.CreateUser(pb.CreateUserRequest(user_id=COUNTER), metadata=bearer(key))
                    calling = [asyncio.create_task(callers.call(each)) for each in range(CALLERS)]
                await callers.all_called(ENOUGH)
                if number == RESTARTS:
                    callers.done = True
                    await asyncio.gather(*calling)
                    await check(stub, key, callers)
                    break
                await ends(server)


async def check(stub: "BackendServiceAsyncStub", key: str, callers: Callers) -> None:
    """Compare what callers were told with what there is."""
    assert not callers.failures
    assert callers.retries
    counter = (await stub.GetUser(pb.GetUserRequest(user_id=COUNTER), metadata=bearer(key))).user
    assert counter.public_metadata.fields["count"].number_value == callers.increments
    assert len(set(callers.created)) == len(callers.created)
    count = (await stub.CountUsers(pb.CountUsersRequest(), metadata=bearer(key))).count
    assert count == 1 + len(callers.created)
