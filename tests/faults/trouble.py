"""Trouble that passes: a disk that fails, a clock that jumps, a process that is stopped for a while."""

import asyncio
import errno
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Unpack

import grpc

from tests.faults.ledger import COUNTER, Fault, Flaw, Ledger
from tests.faults.load import Load, reason_of
from tests.faults.rig import WAIT_SECONDS, WRITERS, Outcome, Rig, examine
from tests.faults.servers import Running, prepared, server
from tests.faults.shim import DiskFault, Shim
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb

_RUNS: Final = 3
_BETWEEN: Final = 100
"""Writes that are answered before there is trouble, and that have to be answered after it."""


# A disk that fails


async def failing_disk(rig: Rig, cause: str, **fault: Unpack[DiskFault]) -> Outcome:
    """Let a disk fail under load, and mend it: writes are refused meanwhile, reads go on, writes come back.

    `cause` is what the refusals have to name. In the end the server is asked to stop while its disk fails.
    """
    shim = rig.shim()
    key = await prepared(shim.data)
    ledger, flaws, fail = Ledger(), list[Flaw](), partial(shim.set, **fault)
    async with server(shim.data, key, shim.environment()) as running:
        load = Load(running.backend, ledger, rig.numbers)
        async with rig.writing(load):
            for _ in range(_RUNS):
                flaws += await _fail(load, running, fail, shim.set)
        flaws += _judged_refusals(load, cause)
        flaws += await _stop(running, fail)
    flaws += await examine(shim.data, key, ledger)
    return Outcome(_RUNS, ledger.acknowledged(), flaws)


full_disk = partial(failing_disk, cause="disk_full", write_errno=errno.ENOSPC)
failing_writes = partial(failing_disk, cause="io_error", write_errno=errno.EIO)
failing_syncs = partial(failing_disk, cause="io_error", sync_errno=errno.EIO)


async def _fail(load: Load, running: Running, fail: Callable[[], None], mend: Callable[[], None]) -> list[Flaw]:
    flaws: list[Flaw] = []
    await _more_acknowledged(load)
    refused = load.refused.total()
    fail()
    async with asyncio.timeout(WAIT_SECONDS):
        await load.until(lambda: load.refused.total() >= refused + WRITERS)
    try:
        await running.backend.GetUser(pb.GetUserRequest(user_id=COUNTER))
        await running.backend.ListUsers(pb.ListUsersRequest(filter="public_metadata.number > 0"))
    except grpc.aio.AioRpcError as error:
        flaws.append(Flaw(Fault.WRONG, f"a read fails while the disk does: {reason_of(error)}"))
    mend()
    try:
        await _more_acknowledged(load)
    except TimeoutError:
        flaws.append(Flaw(Fault.WRONG, f"no writes {WAIT_SECONDS:.0f} s after the disk was mended"))
    return flaws


def _judged_refusals(load: Load, cause: str) -> Iterator[Flaw]:
    """Yield what is wrong with how writes were refused: as STORE_UNAVAILABLE, and the cause was named."""
    for refusal in load.refused:
        if not refusal.startswith("STORE_UNAVAILABLE"):
            yield Flaw(Fault.WRONG, f"a write is refused with {refusal}")
    if f"STORE_UNAVAILABLE {cause}" not in load.refused:
        yield Flaw(Fault.WRONG, f"no refusal names the cause {cause}: {', '.join(load.refused)}")


async def _stop(running: Running, fail: Callable[[], None]) -> list[Flaw]:
    """Ask the server to end while its disk fails."""
    fail()
    running.process.terminate()
    try:
        await asyncio.wait_for(running.process.wait(), WAIT_SECONDS)
    except TimeoutError:
        return [Flaw(Fault.WRONG, f"SIGTERM has not ended the server in {WAIT_SECONDS:.0f} s while its disk fails")]
    return []


async def _more_acknowledged(load: Load) -> None:
    before = load.acknowledged.total()
    async with asyncio.timeout(WAIT_SECONDS):
        await load.until(lambda: load.acknowledged.total() >= before + _BETWEEN)


# A process that is stopped

_STOPPED_SECONDS: Final = 2.0
_DEADLINE_SECONDS: Final = 0.5


async def stopped_process(rig: Rig) -> Outcome:
    """Stop the process under load for longer than its callers wait, and let it go on; they try again meanwhile."""
    folder = rig.new_folder() / "data"
    key = await prepared(folder)
    ledger = Ledger()
    async with server(folder, key) as running:
        load = Load(running.backend, ledger, rig.numbers, deadline=_DEADLINE_SECONDS)
        async with rig.writing(load):
            for _ in range(_RUNS):
                await _more_acknowledged(load)
                running.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(_STOPPED_SECONDS)
                running.process.send_signal(signal.SIGCONT)
            await _more_acknowledged(load)
    return Outcome(_RUNS, ledger.acknowledged(), await examine(folder, key, ledger))


# A clock that jumps

_JUMP_SECONDS: Final = 25 * 3600
_CLOCKS: Final = (0, _JUMP_SECONDS, 0, -_JUMP_SECONDS, 0)
"""What the clock is ahead, one after the other."""
_TTL_SECONDS: Final = 60
_SLACK_SECONDS: Final = 30
"""How far apart the moments may be at which a token is made and looked at here."""


async def clock_jumps(rig: Rig) -> Outcome:
    """Set the clock a day forward and back under load: tokens expire by the clock, new users are let in at once."""
    shim = rig.shim()
    key = await prepared(shim.data)
    ledger, flaws = Ledger(), list[Flaw]()
    async with server(shim.data, key, shim.environment()) as running:
        load = Load(running.backend, ledger, rig.numbers)
        async with rig.writing(load):
            for ahead in _CLOCKS:
                shim.set(ahead=ahead)
                await _more_acknowledged(load)
                flaws += await _session_flaws(running, shim, ahead)
    flaws += await examine(shim.data, key, ledger)
    return Outcome(len(_CLOCKS) - 1, ledger.acknowledged(), flaws)


async def _session_flaws(running: Running, shim: Shim, ahead: int) -> list[Flaw]:
    """Make a user and a session of a minute; return what is wrong with it, at once and when it has expired."""
    user = (await running.backend.CreateUser(pb.CreateUserRequest(user=User()))).user
    request = pb.CreateSessionTokenRequest(user_id=user.id)
    request.ttl.FromSeconds(_TTL_SECONDS)
    reply = await running.backend.CreateSessionToken(request)
    left = reply.expire_time.ToSeconds() - (time.time() + ahead)
    answers = [await _answer(running, reply.session_token)]
    shim.set(ahead=ahead + _TTL_SECONDS + _SLACK_SECONDS)
    answers.append(await _answer(running, reply.session_token))
    shim.set(ahead=ahead)
    return [Flaw(Fault.WRONG, f"clock {ahead / 3600:+.0f} h: {text}") for text in _judged(left, answers)]


def _judged(left: float, answers: list[str]) -> Iterator[str]:
    if not _TTL_SECONDS - _SLACK_SECONDS < left < _TTL_SECONDS + _SLACK_SECONDS:
        yield f"a session of {_TTL_SECONDS} s lives {left:.0f} s"
    if answers[0] != "":
        yield f"the session of a new user is refused: {answers[0]}"
    if answers[1] != "CREDENTIAL_EXPIRED":
        yield f"an expired session is answered with {answers[1] or 'its user'}"


async def _answer(running: Running, token: str) -> str:
    """Return why a session is refused; nothing when it is not."""
    metadata = (("authorization", f"Bearer {token}"),)
    try:
        await running.frontend.GetUser(frontend_pb.GetUserRequest(), metadata=metadata, timeout=WAIT_SECONDS)
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    return ""
