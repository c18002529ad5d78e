"""Kill a server under load, again and again, and check that it kept its word.

Every round starts the server on the same database, lets many writers create users, merge documents and increment
a shared counter, and ends it with SIGKILL at a random moment. The next server must have all that was acknowledged,
with the etags that were acknowledged; what was not acknowledged must be there whole or not at all, and is counted
once however often it is sent again under its request id.

    .venv/bin/python scripts/crash.py --rounds 20

The exit code is 1 when anything was lost, and the lines say what.
"""

import argparse
import asyncio
import itertools
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc
from google.protobuf.struct_pb2 import Struct, Value

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1 import backend_service_pb2_grpc
from usermeta.backend.v1.user_pb2 import User
from usermeta.type.v1.patch_pb2 import PatchOperation

if TYPE_CHECKING:  # this name is only in the stubs
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub

DOCUMENTS: Final = ("public_metadata", "private_metadata", "unsafe_metadata")
COUNTER: Final = "user_counter"
PAGE: Final = 100
START_SECONDS: Final = 60.0
ROUND_SECONDS: Final = 60.0


class State(NamedTuple):
    """What a user was acknowledged to be: the number in its documents, and their etags."""

    number: int
    etags: bytes


class Ledger:
    """What the server acknowledged, and what it may have written without having said so: `survived` counts these."""

    def __init__(self) -> None:
        """Begin with an empty database."""
        self.users: dict[str, State] = {}
        self.unknown: dict[str, int] = {}
        self.count = 0
        self.unknown_increments: list[pb.PatchUserMetadataRequest] = []
        self.acknowledged: Counter[str] = Counter()
        self.survived = 0

    async def check(self, stub: "BackendServiceAsyncStub") -> list[str]:
        """Compare the ledger with a server, take in how the unknown turned out, and return what is wrong."""
        user_ids = list(self.users | self.unknown)
        losses: list[str] = []
        for start in range(0, len(user_ids), PAGE):
            page = user_ids[start : start + PAGE]
            reply = await stub.BatchGetUsers(pb.BatchGetUsersRequest(user_ids=page))
            found = {user.id: user for user in reply.users}
            losses += [f"{each}: {flaw}" for each in page if (flaw := self._flaw(each, found.get(each)))]
        names = [each for each in self.unknown if each not in self.users]
        losses += [f"{each}: its name is not free" for each in names if await _holder(stub, each)]
        self.unknown.clear()
        return losses + await self._check_counter(stub)

    def _flaw(self, user_id: str, user: User | None) -> str | None:
        """Return what is wrong with a user, if anything; otherwise its state is known from now on."""
        expected, pending = self.users.get(user_id), self.unknown.get(user_id)
        if user is None:
            return "is gone" if expected else None
        found = State(_number(user), user.metadata_etags.SerializeToString(deterministic=True))
        if found == expected:
            return None
        if found.number == pending:
            self.users[user_id] = found
            self.survived += 1
            return None
        return f"has {found}, not {expected}, nor the unacknowledged {pending}"

    async def _check_counter(self, stub: "BackendServiceAsyncStub") -> list[str]:
        highest = self.count + len(self.unknown_increments)
        before = await _count(stub)
        for request in self.unknown_increments:
            await stub.PatchUserMetadata(request)
        after = await _count(stub)
        losses = _between(self.count, before, highest) + _between(highest, after, highest)
        self.survived += before - self.count
        self.unknown_increments.clear()
        self.count = highest
        return losses


def _between(lowest: int, count: int, highest: int) -> list[str]:
    return [] if lowest <= count <= highest else [f"the counter is {count}, not {lowest} to {highest}"]


async def _count(stub: "BackendServiceAsyncStub") -> int:
    user = (await stub.GetUser(pb.GetUserRequest(user_id=COUNTER))).user
    return int(user.public_metadata.fields["count"].number_value)


def _number(user: User) -> int:
    """Return the number that a user's documents agree on, -1 when they don't."""
    numbers = {int(getattr(user, each).fields["number"].number_value) for each in DOCUMENTS}
    return numbers.pop() if len(numbers) == 1 else -1


async def _holder(stub: "BackendServiceAsyncStub", username: str) -> str:
    try:
        return (await stub.GetUser(pb.GetUserRequest(username=username))).user.id
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return ""


# The load


def documents(number: int) -> dict[str, Any]:
    """Return three documents that hold a number."""
    made = Struct()
    made.update({"number": number, "padding": "x" * 200})
    return dict.fromkeys(DOCUMENTS, made)


class Load:
    """Writers, each of which has one write under way, until the server dies."""

    def __init__(self, stub: "BackendServiceAsyncStub", ledger: Ledger, numbers: Iterator[int]) -> None:
        """Write over a stub, and keep a ledger."""
        self._stub = stub
        self._ledger = ledger
        self._numbers = numbers
        self.begun = asyncio.Event()
        self.killed = False

    async def write(self, user_id: str, chance: random.Random) -> None:
        """Write to a user of this writer's own, make others, and increment, until the server is gone."""
        try:
            while True:
                act = chance.choice((self._merge, self._create, self._increment))
                await act(user_id)
                self._ledger.acknowledged[act.__name__.lstrip("_")] += 1
                self.begun.set()
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or not self.killed:
                raise

    async def _create(self, user_id: str) -> None:
        number = next(self._numbers)
        user_id = f"{user_id}_{number}"
        user = User(username=user_id, **documents(number))
        self._ledger.unknown[user_id] = number
        reply = await self._stub.CreateUser(pb.CreateUserRequest(user=user, user_id=user_id))
        self._acknowledged(reply.user, number)

    async def _merge(self, user_id: str) -> None:
        if user_id not in self._ledger.users:
            number = next(self._numbers)
            self._ledger.unknown[user_id] = number
            request = pb.CreateUserRequest(user=User(username=user_id, **documents(number)), user_id=user_id)
            self._acknowledged((await self._stub.CreateUser(request)).user, number)
        number = next(self._numbers)
        self._ledger.unknown[user_id] = number
        merge = pb.MergeUserMetadataRequest(user_id=user_id, **documents(number))
        self._acknowledged((await self._stub.MergeUserMetadata(merge)).user, number)

    async def _increment(self, _: str) -> None:
        operation = PatchOperation(op=PatchOperation.OP_INCREMENT, path="/count", value=Value(number_value=1))
        request = pb.PatchUserMetadataRequest(
            user_id=COUNTER, public_metadata=[operation], request_id=str(uuid.uuid4())
        )
        self._ledger.unknown_increments.append(request)
        await self._stub.PatchUserMetadata(request)
        self._ledger.unknown_increments.remove(request)
        self._ledger.count += 1

    def _acknowledged(self, user: User, number: int) -> None:
        etags = user.metadata_etags.SerializeToString(deterministic=True)
        self._ledger.users[user.id] = State(number, etags)
        del self._ledger.unknown[user.id]


# The server


class Running(NamedTuple):
    """A server in a process of its own, and a stub that calls it."""

    process: "subprocess.Popen[str]"
    stub: "BackendServiceAsyncStub"


def usermeta(*arguments: str) -> list[str]:
    """Return the command line of a usermeta command."""
    return [sys.executable, "-m", "usermeta_server", *arguments]


def environment() -> Mapping[str, str]:
    """Return this process's environment without settings of usermeta."""
    return {name: value for name, value in os.environ.items() if not name.startswith("USERMETA_")}


@asynccontextmanager
async def server(url: str, key: str) -> AsyncIterator[Running]:
    """Run a server that is killed when the context is left, at the latest."""
    command = usermeta("serve", "--database-url", url, "--listen", "127.0.0.1:0", "--access-log", "off")
    with _started(command) as process:
        try:
            address = await asyncio.wait_for(asyncio.to_thread(_address, process), START_SECONDS)
            async with grpc.aio.insecure_channel(address, interceptors=[_Key(key)]) as channel:
                yield Running(process, backend_service_pb2_grpc.BackendServiceStub(channel))
        finally:
            process.kill()


def _started(command: Sequence[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())  # noqa: S603  # ours


def _address(process: "subprocess.Popen[str]") -> str:
    """Return where a server listens, as it says in its log; that is short enough then to be left unread."""
    text = ""
    for line in process.stderr or ():
        text += line
        if match := re.search(r"listens on ([\w.]+:\d+)", line):
            return match[1]
    raise RuntimeError(f"the server did not start:\n{text}")


class _Key(grpc.aio.UnaryUnaryClientInterceptor):
    """Sends the secret key with every call, and bounds each in time."""

    def __init__(self, key: str) -> None:
        self._header = ("authorization", f"Bearer {key}")

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:  # noqa: ANN401  # as grpc has it
        """Add the header and a deadline."""
        details = details._replace(metadata=grpc.aio.Metadata(self._header), timeout=ROUND_SECONDS)
        return await continuation(details, request)


# The rounds


class Options(NamedTuple):
    """How much to do: `seconds` is how long a server lives after its first acknowledgement at the most."""

    rounds: int
    writers: int
    seconds: float
    seed: int


async def kill_under_load(running: Running, ledger: Ledger, numbers: Iterator[int], options: Options, seed: int) -> str:
    """Write until the server is killed, and return what happened in one line."""
    chance = random.Random(seed)  # noqa: S311  # schedules, not secrets
    load = Load(running.stub, ledger, numbers)
    before = ledger.acknowledged.copy()
    seconds = chance.uniform(0.1, 1) * options.seconds

    def kill() -> None:
        load.killed = True
        running.process.kill()

    # From a thread of its own, so that the moment has nothing to do with what this event loop is at.
    killer = threading.Timer(seconds, kill)

    async def start_killer() -> None:
        await load.begun.wait()
        killer.start()

    writers = [load.write(f"user_w{each}", random.Random(chance.random())) for each in range(options.writers)]  # noqa: S311  # as above
    await asyncio.wait_for(asyncio.gather(start_killer(), *writers), ROUND_SECONDS)
    killer.join()
    counts = ledger.acknowledged - before
    kinds = ", ".join(f"{kind} {counts[kind]}" for kind in sorted(counts))
    unknown = len(ledger.unknown) + len(ledger.unknown_increments)
    return f"killed after {seconds:.2f} s, {counts.total()} acknowledged ({kinds}), {unknown} unknown"


async def crash(folder: Path, options: Options) -> Sequence[str]:
    """Run all rounds on a database in a folder, and return what was lost."""
    url = f"sqlite:///{folder / 'usermeta.db'}"
    creating = usermeta("keys", "create", "crash", "--scope", "admin", "--database-url", url)
    key = subprocess.run(creating, check=True, stdout=subprocess.PIPE, text=True, env=environment()).stdout.strip()  # noqa: S603, ASYNC221  # ours; nothing else runs yet
    ledger, numbers, losses, line = Ledger(), itertools.count(1), list[str](), ""
    for index in range(options.rounds + 1):
        async with server(url, key) as running:
            if index == 0:
                await running.stub.CreateUser(pb.CreateUserRequest(user_id=COUNTER))
            survived = ledger.survived
            lost = await asyncio.wait_for(ledger.check(running.stub), ROUND_SECONDS)
            losses += lost
            if index:
                print(f"{line}, {ledger.survived - survived} of them written, {len(lost)} lost", flush=True)
            if lost or index == options.rounds:
                break
            line = await kill_under_load(running, ledger, numbers, options, options.seed + index)
            line = f"round {index + 1}: {line}"
    total = ledger.acknowledged.total()
    print(f"{index} rounds, {total} acknowledged writes, {len(losses)} lost (seed {options.seed})")
    return losses


def main() -> None:
    """Run the rounds that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often to kill the server (20)")
    parser.add_argument("--writers", type=int, default=36, help="how many write at once (36)")
    parser.add_argument("--seconds", type=float, default=1.5, help="how long a server lives at the most (1.5)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="to kill at the same moments again")  # noqa: S311  # a schedule
    options = Options(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory() as folder:
        losses = asyncio.run(crash(Path(folder), options))
    for loss in losses[:PAGE]:
        print(f"LOST {loss}")
    sys.exit(bool(losses))


if __name__ == "__main__":
    main()
