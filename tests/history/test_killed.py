"""Watchers over the sudden death of the server: what was acknowledged is told of, once or more, in order."""

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc

from tests.history.support import Watcher
from tests.store.sqlite import open_sqlite
from tests.support import DEADLINE, bearer, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceStub
from usermeta.backend.v1.user_pb2 import User
from usermeta_server.model import BEGINNING

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs

KILLS: Final = 2
WRITERS: Final = 64


class Serving:
    """`usermeta serve` as a process, that can be killed and started again on the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = "127.0.0.1:0"
        self.key = ""
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.process = subprocess.Popen(  # noqa: S603  # no shell
            [sys.executable, "-m", "usermeta_server", "serve", "--listen", self.address, "--access-log", "off"],
            env={"USERMETA_DATABASE_URL": f"sqlite:///{self.folder}/usermeta.db", "PYTHONPATH": ":".join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.key = self.key or next(iter(re.findall(r"^ +(sk_\S+)$", line)), "")
            if listens := re.search(r"usermeta listens on ([\d.:]+)", line):
                self.address = listens[1]
                return
        raise AssertionError

    def kill(self) -> None:
        """Kill it, as the system does when memory is short."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


class Client:
    """Writers and a watcher of a server that dies now and then."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.acknowledged: dict[str, int] = {}
        self.told: list[int] = []
        self.writes: dict[str, int] = {}
        self.stop = False
        self.more = asyncio.Event()

    async def write(self, stub: "BackendServiceAsyncStub", user_id: str) -> None:
        """Write one number after the other, and note which were acknowledged."""
        number = 0
        while not self.stop:
            number += 1
            merge = pb.MergeUserMetadataRequest(user_id=user_id, private_metadata=struct({"n": number}))
            try:
                await stub.MergeUserMetadata(merge, metadata=bearer(self.serving.key), wait_for_ready=True)
                self.acknowledged[user_id] = number
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0)

    async def watch(self, stub: "BackendServiceAsyncStub") -> None:
        """Follow, with the token of the last response that was taken."""
        token = ""
        while not self._told_all():
            request = pb.WatchUsersRequest(resume_token=token)
            watcher = Watcher(stub.WatchUsers(request, metadata=bearer(self.serving.key), wait_for_ready=True))
            with contextlib.suppress(grpc.aio.AioRpcError):
                while not self._told_all():
                    for event in (await watcher.next()).events:
                        self.told.append(event.change.change_id)
                        number = event.change.after.private_metadata.fields["n"].number_value
                        self.writes[event.change.user_id] = int(number)
                    token = watcher.token
                    self.more.set()
            watcher.call.cancel()

    def _told_all(self) -> bool:
        return self.stop and all(self.writes.get(user, 0) >= number for user, number in self.acknowledged.items())


async def test_a_watcher_survives_the_servers_death(tmp_path: Path) -> None:
    """Over several kills under 64 writers it is told all that is in the history table, in its order, and no more."""
    serving = Serving(tmp_path)
    client = Client(serving)
    options = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 50))
    try:
        async with (
            grpc.aio.insecure_channel(serving.address, options=options) as channel,
            asyncio.timeout(2 * DEADLINE),
        ):
            stub: BackendServiceAsyncStub = BackendServiceStub(channel)
            user_ids = []
            for _ in range(WRITERS):
                made = await stub.CreateUser(pb.CreateUserRequest(user=User()), metadata=bearer(serving.key))
                user_ids.append(made.user.id)
            async with asyncio.TaskGroup() as group:
                group.create_task(client.watch(stub))
                for user_id in user_ids:
                    group.create_task(client.write(stub, user_id))
                for _ in range(KILLS):
                    await _wait_for_more(client, 300)
                    await asyncio.to_thread(serving.kill)
                    await asyncio.to_thread(serving.start)
                await _wait_for_more(client, 300)
                client.stop = True
    finally:
        serving.kill()
    await _check(tmp_path, client.told)


async def _wait_for_more(client: Client, count: int) -> None:
    enough = len(client.told) + count
    async with asyncio.timeout(DEADLINE):
        while len(client.told) < enough:
            await client.more.wait()
            client.more.clear()


async def _check(folder: Path, told: list[int]) -> None:
    store = await open_sqlite(folder / "usermeta.db")
    table = [change.id for change in await store.changes_after(BEGINNING, 1_000_000)]
    await store.close()
    first_seen = list(dict.fromkeys(told))
    begin = table.index(first_seen[0])
    assert first_seen == table[begin : begin + len(first_seen)]
    assert len(first_seen) > 900
