"""What watching and history cost the writers, and how soon watchers know.

    python bench/watch.py [--seconds 3] [--rounds 3]

Server, writers and watchers are processes of their own. Measured in turns, medians of the rounds:

- writes: 64 in flight, without watchers; with 5 watchers of everything and 1,000 frontend watches, 100 of which see
  what is written; without history (`Draft.record` does nothing there).
- delay from a write's transaction to a watcher of everything; how many events a response holds; memory of idle watches.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import uvloop

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta_server.cli import main as command_line
from usermeta_server.store.contract import Draft

WRITERS: Final = 64
EVERYTHING: Final = 5
OWN: Final = 1000
VISIBLE: Final = 100
"""Of the users, those to whose public document is written; to the others' private one."""
BACKEND: Final = "/usermeta.backend.v1.BackendService/"
FRONTEND: Final = "/usermeta.frontend.v1.FrontendService/"
_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


class Server(NamedTuple):
    """A server as a process."""

    process: "subprocess.Popen[str]"
    address: str
    key: str

    def cpu(self) -> float:
        """Return the seconds of processor that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        """Return its memory in MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024


@contextlib.contextmanager
def serving(folder: str, role: str) -> Iterator[Server]:
    """Run a server in a folder."""
    arguments = [sys.executable, __file__, role, "serve", "--listen", "127.0.0.1:0", "--access-log", "errors"]
    environment = {**os.environ, "USERMETA_DATABASE_URL": f"sqlite:///{folder}/usermeta.db"}
    process = subprocess.Popen(  # noqa: S603  # this very file
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout
    key = ""
    try:
        for line in process.stdout:
            key = key or next(iter(re.findall(r"^ +(sk_\S+)$", line)), "")
            if listens := re.search(r"usermeta listens on ([\d.:]+)", line):
                yield Server(process, listens[1], key)
                return
    finally:
        process.kill()
        process.communicate()


class Client:
    """Calls of raw bytes over channels of its own."""

    def __init__(self, address: str, key: str, channels: int = 1) -> None:
        """Connect to a server with a secret key."""
        self._channels = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(channels)]
        self._metadata = self._bearer(key)

    @staticmethod
    def _bearer(token: str) -> grpc.aio.Metadata:
        return grpc.aio.Metadata(("authorization", f"Bearer {token}"))

    async def call(self, method: str, request: bytes) -> bytes:
        """Call a method of BackendService."""
        call = self._channels[0].unary_unary(BACKEND + method, bytes, bytes)
        reply: bytes = await call(request, metadata=self._metadata)
        return reply

    def stream(self, path: str, number: int, token: str = "") -> Any:  # noqa: ANN401  # gRPC's call
        """Open a stream, with a session token or the key."""
        metadata = self._bearer(token) if token else self._metadata
        return self._channels[number % len(self._channels)].unary_stream(path, bytes, bytes)(b"", metadata=metadata)


async def make_users(client: Client) -> list[str]:
    """Make the users that are written to."""
    request = pb.CreateUserRequest(user=User(first_name="Ada", image_url="https://example.com/ada.png"))
    request.user.public_metadata.update({"plan": "pro", "n": 0})
    request.user.private_metadata.update({"customer": "cus_1234567890", "n": 0})
    replies = await asyncio.gather(*(client.call("CreateUser", request.SerializeToString()) for _ in range(OWN)))
    return [pb.CreateUserResponse.FromString(reply).user.id for reply in replies]


async def write(client: Client, users: Sequence[str], seconds: float) -> float:
    """Write for some seconds, and return how many writes a second were acknowledged."""
    end, done = time.perf_counter() + seconds, 0
    numbers = iter(range(1 << 60))

    async def writer() -> None:
        nonlocal done
        while time.perf_counter() < end:
            number = next(numbers)
            place = number * 7919 % len(users)
            request = pb.MergeUserMetadataRequest(user_id=users[place])
            document = request.public_metadata if place < VISIBLE else request.private_metadata
            document.fields["n"].number_value = time.time()
            await client.call("MergeUserMetadata", request.SerializeToString())
            done += 1

    start = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    return done / (time.perf_counter() - start)


async def watch(address: str, key: str, tokens: Sequence[str]) -> None:
    """Watch until standard input ends; then print what was seen, as JSON."""
    client = Client(address, key, channels=5)
    delays: list[float] = []
    counts = {"responses": 0, "events": 0, "own": 0}

    async def everything(number: int) -> None:
        async for reply in client.stream(f"{BACKEND}WatchUsers", number):
            response = pb.WatchUsersResponse.FromString(reply)
            counts["responses"] += bool(response.events)
            counts["events"] += len(response.events)
            if number == 0 and response.events:
                change = response.events[0].change  # the one that waited longest
                delays.append(time.time() - change.time.ToMicroseconds() / 1e6)

    async def own(number: int, token: str) -> None:
        async for _ in client.stream(f"{FRONTEND}WatchUser", number, token):
            counts["own"] += 1

    watching = [asyncio.create_task(everything(number)) for number in range(EVERYTHING)]
    watching += [asyncio.create_task(own(number, token)) for number, token in enumerate(tokens)]
    while counts["own"] < len(tokens):  # noqa: ASYNC110  # a script may
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    ended = [task for task in watching if task.done()]
    assert not ended, f"{len(ended)} watches were ended: {ended[0].exception()}"
    print(json.dumps({**counts, "delays": delays}), flush=True)
    os._exit(0)


@contextlib.asynccontextmanager
async def watchers(server: Server, tokens: Sequence[str], seen: list[dict[str, Any]]) -> Any:  # noqa: ANN401  # a generator
    """Run the watchers as a process; append what they saw."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "watch", server.address, server.key,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 26,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(tokens).encode() + b"\n")
    assert await process.stdout.readline() == b"ready\n", "the watchers did not begin"
    yield
    process.stdin.close()
    seen.append(json.loads(await process.stdout.readline()))
    await process.wait()


async def measure_watching(seconds: float, rounds: int) -> None:
    """Compare writers with and without watchers."""
    with tempfile.TemporaryDirectory() as folder, serving(folder, "server") as server:
        client = Client(server.address, server.key)
        users = await make_users(client)
        sessions = [
            pb.CreateSessionTokenResponse.FromString(
                await client.call("CreateSessionToken", pb.CreateSessionTokenRequest(user_id=user).SerializeToString())
            ).session_token
            for user in users
        ]
        await write(client, users, 1)
        alone: list[float] = []
        watched: list[float] = []
        seen: list[dict[str, Any]] = []
        for number in range(rounds):
            alone.append(await write(client, users, seconds))
            before = server.resident()
            async with watchers(server, sessions, seen):
                if number == 0:
                    each = (server.resident() - before) * 1024 / (OWN + EVERYTHING)
                    print(f"memory of an idle watch: {each:.1f} KiB")
                watched.append(await write(client, users, seconds))
        report(alone, watched, seen)


def report(alone: Sequence[float], watched: Sequence[float], seen: Sequence[dict[str, Any]]) -> None:
    """Print what was measured of watching."""
    delays = sorted(delay for each in seen for delay in each["delays"])
    print(f"writes/s without watchers: {statistics.median(alone):,.0f}   {[round(each) for each in alone]}")
    print(f"writes/s with watchers:    {statistics.median(watched):,.0f}   {[round(each) for each in watched]}")
    print(f"ratio: {_ratio(watched, alone):.2f}")
    print(f"delay to a watcher: p50 {_part(delays, 0.5):.1f} ms, p99 {_part(delays, 0.99):.1f} ms")
    print(f"events a response: {sum(x['events'] for x in seen) / sum(x['responses'] for x in seen):.1f}")
    print(f"responses to frontend watches, without the first: {sum(x['own'] for x in seen) - OWN * len(seen):,}")


def _ratio(measured: Sequence[float], against: Sequence[float]) -> float:
    """Return the median of the rounds' ratios: what else the machine does then weighs least."""
    return statistics.median(one / other for one, other in zip(measured, against, strict=True))


def _part(values: Sequence[float], part: float) -> float:
    return values[int(len(values) * part)] * 1000


async def measure_history(seconds: float, rounds: int) -> None:
    """Compare a server with history with one without, in turns."""
    speeds: dict[str, list[float]] = {"server": [], "server-without-history": []}
    costs: dict[str, list[float]] = {role: [] for role in speeds}
    with contextlib.ExitStack() as stack:
        ready = []
        for role in speeds:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            server = stack.enter_context(serving(folder, role))
            client = Client(server.address, server.key)
            users = await make_users(client)
            await write(client, users, 1)
            ready.append((role, server, client, users))
        for _ in range(rounds):
            for role, server, client, users in ready:
                used = server.cpu()
                speeds[role].append(await write(client, users, seconds))
                costs[role].append((server.cpu() - used) / speeds[role][-1] / seconds)
    with_, without = speeds.values()
    print(f"writes/s with history:     {statistics.median(with_):,.0f}   {[round(each) for each in with_]}")
    print(f"writes/s without history:  {statistics.median(without):,.0f}   {[round(each) for each in without]}")
    cost, cost_without = costs.values()
    print(f"ratio: {_ratio(with_, without):.2f}; by processor time for each: {_ratio(cost_without, cost):.2f}")


def main() -> None:
    """Measure, or be one of the processes that take part."""
    role = sys.argv[1] if len(sys.argv) > 1 else ""
    if role.startswith("server"):
        if role == "server-without-history":
            Draft.record = lambda *_: None  # type: ignore[method-assign]  # what is measured
        del sys.argv[1]
        command_line()
        return
    if role == "watch":
        asyncio.run(watch(sys.argv[2], sys.argv[3], json.loads(sys.stdin.readline())))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each measurement takes")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is made")
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure_watching(given.seconds, given.rounds))
        runner.run(measure_history(given.seconds, given.rounds))


if __name__ == "__main__":
    main()
