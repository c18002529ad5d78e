"""Servers in processes of their own, that die."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import grpc

from tests.faults.ledger import COUNTER
from tests.support import serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1 import backend_service_pb2_grpc
from usermeta.frontend.v1 import frontend_service_pb2_grpc
from usermeta_server.model import Scope

if TYPE_CHECKING:  # these names are only in the stubs
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub
    from usermeta.frontend.v1.frontend_service_pb2_grpc import FrontendServiceAsyncStub

START_SECONDS: Final = 60.0
_COMMAND: Final = (sys.executable, "-m", "usermeta_server", "serve", "--listen", "127.0.0.1:0", "--access-log", "off")


class Running:
    """A server's process, its log so far, and stubs that call it."""

    def __init__(
        self, process: asyncio.subprocess.Process, log: list[str], channel: grpc.aio.Channel, key: str
    ) -> None:
        """Put the parts together; `server` makes them."""
        self.process = process
        self.log = log
        self.frontend: FrontendServiceAsyncStub = frontend_service_pb2_grpc.FrontendServiceStub(channel)
        self.backend: BackendServiceAsyncStub = backend_service_pb2_grpc.BackendServiceStub(
            cast("grpc.aio.Channel", _Keyed(channel, key))
        )


class _Keyed:
    """A channel whose unary calls carry a key."""

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {key}"),)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # as grpc has it
        """Return the call of a method, with the key in it."""
        call = self._channel.unary_unary(*args, **kwargs)
        return lambda request, timeout=START_SECONDS: call(request, metadata=self._metadata, timeout=timeout)

    unary_stream = unary_unary


async def prepared(folder: Path) -> str:
    """Make a database with the counter in it, and return an admin key."""
    folder.mkdir(mode=0o700)  # noqa: ASYNC240  # nothing else runs yet
    async with serving(settings(folder)) as service:
        await service.admin.CreateUser(pb.CreateUserRequest(user_id=COUNTER))
        return await service.key(Scope.ADMIN)


@asynccontextmanager
async def server(folder: Path, key: str, more: Mapping[str, str] | None = None) -> AsyncIterator[Running]:
    """Run a server on the database of a folder, with more in its environment; it is killed at the end at the latest."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("USERMETA_")}
    url = {"USERMETA_DATABASE_URL": f"sqlite:///{folder / 'usermeta.db'}"}
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        env=inherited | url | dict(more or {}),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    log: list[str] = []
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(_read(process, log, address))
    try:
        target = await asyncio.wait_for(address, START_SECONDS)
        async with grpc.aio.insecure_channel(target) as channel:
            yield Running(process, log, channel, key)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def _read(process: asyncio.subprocess.Process, log: list[str], address: "asyncio.Future[str]") -> None:
    """Read a server's log to its end, and find out where it listens."""
    if process.stderr is None:
        raise TypeError
    async for line in process.stderr:
        log.append(line.decode(errors="replace"))
        found = re.search(r"listens on ([\w.]+:\d+)", log[-1])
        if found and not address.done():
            address.set_result(found[1])
    if not address.done():
        address.set_exception(RuntimeError(f"the server did not start:\n{''.join(log)}"))
