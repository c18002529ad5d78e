"""Admission without a transport: who is let in by method and headers, and what callers are told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import pytest

from usermeta_server import policy
from usermeta_server.admission.admission import Admission, Headers
from usermeta_server.admission.call import Call, current_call, set_call
from usermeta_server.admission.drain import Drain
from usermeta_server.admission.limits import Limits
from usermeta_server.admission.observers import EndedCall, Observers
from usermeta_server.caller import ANONYMOUS, Audience, Principal, PrincipalKind
from usermeta_server.context import carried
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Scope
from usermeta_server.policy import ProfileAudience

BACKEND: Final = "/usermeta.backend.v1.BackendService/"
FRONTEND: Final = "/usermeta.frontend.v1.FrontendService/"
READER: Final = Principal(PrincipalKind.SECRET_KEY, "key_r", Scope.READ)
PERSON: Final = Principal(PrincipalKind.USER, "user_1", user_id="user_1")
PRINCIPALS: Final = {Audience.BACKEND: {"reader": READER}, Audience.FRONTEND: {"person": PERSON}}


class Credentials:
    """Tokens that a test made up; what is `revoked` holds no more."""

    def __init__(self) -> None:
        """Begin with none revoked."""
        self.revoked: set[Principal] = set()
        self.asked = 0

    async def authenticate(self, audience: Audience, headers: Sequence[str | bytes]) -> Principal:
        """Return whom the last word of the one header stands for."""
        self.asked += 1
        if not headers:
            return ANONYMOUS
        principal = PRINCIPALS[audience].get(str(headers[0]).rpartition(" ")[2])
        if principal is None:
            raise UsermetaError(Reason.CREDENTIAL_INVALID)
        return principal

    def check(self, principal: Principal) -> None:
        """Refuse who is revoked."""
        if principal in self.revoked:
            raise UsermetaError(Reason.CREDENTIAL_INVALID)


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.calls: list[EndedCall] = []

    def record(self, call: EndedCall) -> None:
        """Remember a call."""
        self.calls.append(call)


class World:
    """An admission, and what it stands on."""

    def __init__(self, limits: Limits | None = None) -> None:
        """Put it together."""
        self.credentials, self.drain, self.told, self.failed = Credentials(), Drain(), Told(), Told()
        rules = policy.method_rules(ProfileAudience.ANYONE)
        observers = Observers((self.told,), (self.failed,))
        self.admission = Admission(rules, self.credentials, self.drain, observers, limits)

    async def carry_out(self, call: Call, handle: Callable[[bytes, Call], Awaitable[object]]) -> object:
        """Carry out a call from loopback, with an empty body."""
        return await self.admission.carry_out(call, peer, b"", handle)


def peer() -> str:
    """Return the address that all calls come from."""
    return "127.0.0.1"


def bearer(token: str) -> Headers:
    """Return headers with a credential, and others."""
    return (("user-agent", "test"), ("authorization", f"Bearer {token}"))


async def answer(_: bytes, __: Call) -> str:
    """Answer a call."""
    return "answered"


DECIDED: Final = [
    (f"{BACKEND}GetUser", bearer("reader"), None),
    (f"{BACKEND}GetUser", (), Reason.CREDENTIAL_MISSING),
    (f"{BACKEND}GetUser", bearer("nobody"), Reason.CREDENTIAL_INVALID),
    (f"{BACKEND}GetUser", bearer("person"), Reason.CREDENTIAL_INVALID),
    (f"{BACKEND}DeleteUser", bearer("reader"), Reason.SCOPE_INSUFFICIENT),
    (f"{BACKEND}Unheard", bearer("reader"), Reason.ACCESS_DENIED),
    ("/another.Service/GetUser", bearer("reader"), Reason.ACCESS_DENIED),
    (f"{FRONTEND}GetUser", bearer("person"), None),
    (f"{FRONTEND}GetUser", bearer("reader"), Reason.CREDENTIAL_INVALID),
    (f"{FRONTEND}GetUser", (), Reason.CREDENTIAL_MISSING),
    (f"{FRONTEND}GetProfile", (), None),
    (f"{FRONTEND}CreateSignUp", (), None),
    (f"{FRONTEND}CreateSignUp", bearer("person"), Reason.CREDENTIAL_INVALID),
]


@pytest.mark.parametrize(("method", "headers", "reason"), DECIDED)
async def test_method_and_headers_decide(method: str, headers: Headers, reason: Reason | None) -> None:
    admission = World().admission
    for _ in range(2):  # what is remembered decides as what was found out
        assert await decision(admission, method, headers) is reason


async def decision(admission: Admission, method: str, headers: Headers) -> Reason | None:
    """Return why a call is refused, None if it is admitted."""
    try:
        call = await admission.admit(method, headers, 0)
    except UsermetaError as error:
        return error.reason
    assert call.caller.method == method
    return None


async def test_what_a_credential_means_is_found_out_once_but_whether_it_holds_at_every_call() -> None:
    world = World()
    for _ in range(3):
        await world.admission.admit(f"{BACKEND}GetUser", bearer("reader"), 0)
    assert world.credentials.asked == 1
    world.credentials.revoked.add(READER)
    with pytest.raises(UsermetaError, match="CREDENTIAL_INVALID"):
        await world.admission.admit(f"{BACKEND}GetUser", bearer("reader"), 0)


async def test_a_credential_is_looked_at_once_more_when_the_body_has_come() -> None:
    world = World()
    call = await world.admission.admit(f"{BACKEND}GetUser", bearer("reader"), 0)
    world.credentials.revoked.add(READER)
    outcome = await world.carry_out(call, answer)
    assert isinstance(outcome, UsermetaError)
    assert outcome.reason is Reason.CREDENTIAL_INVALID


async def test_once_a_drain_has_begun_nothing_is_admitted_and_nothing_admitted_is_begun() -> None:
    world = World()
    call = await world.admission.admit(f"{BACKEND}GetUser", bearer("reader"), 0)
    world.drain.begun = True
    outcome = await world.carry_out(call, answer)
    assert isinstance(outcome, UsermetaError)
    assert outcome.reason is Reason.SHUTTING_DOWN
    with pytest.raises(UsermetaError, match="SHUTTING_DOWN"):
        await world.admission.admit(f"{BACKEND}GetUser", bearer("reader"), 0)
    assert world.drain.under_way == 0


async def test_observers_are_told_how_calls_ended() -> None:
    world = World()

    async def fail(_: bytes, __: Call) -> None:
        raise UsermetaError(Reason.USER_NOT_FOUND)

    async def break_down(_: bytes, __: Call) -> None:
        raise RuntimeError("internal")

    outcomes = []
    for handle in (answer, fail, break_down):
        call = await world.admission.admit(f"{BACKEND}GetUser", bearer("reader"), 0)
        outcomes.append(await world.carry_out(call, handle))
    refused = UsermetaError(Reason.CREDENTIAL_MISSING)
    outcomes.append(await world.admission.turn_away(f"{BACKEND}GetUser", 0, (), refused, peer))
    ended = [(each.caller is not None, each.status, each.reason) for each in world.told.calls]
    assert ended == [
        (True, "OK", None),
        (True, "NOT_FOUND", Reason.USER_NOT_FOUND),
        (True, "INTERNAL", Reason.INTERNAL),
        (False, "UNAUTHENTICATED", Reason.CREDENTIAL_MISSING),
    ]
    assert world.failed.calls == world.told.calls[1:]
    assert outcomes[0] == "answered"
    assert "internal" not in str(outcomes[2])


async def test_a_caller_who_leaves_is_told_nothing_and_its_call_ends_as_cancelled() -> None:
    world = World()
    began = asyncio.Event()

    async def hang(_: bytes, __: Call) -> None:
        began.set()
        await asyncio.Event().wait()

    call = await world.admission.admit(f"{BACKEND}GetUser", bearer("reader"), 0)
    task = asyncio.create_task(world.carry_out(call, hang))
    await began.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert [(each.status, each.reason) for each in world.told.calls] == [("CANCELLED", None)]
    assert world.drain.under_way == 0


async def test_what_a_call_queued_sees_the_call_when_another_task_runs_it() -> None:
    """So a trace goes on through a queue that is emptied by somebody else."""
    world = World()
    queue: asyncio.Queue[Callable[[], Call]] = asyncio.Queue()
    emptying = asyncio.create_task(_empty(queue, 2))

    async def serve() -> Call:
        call = await world.admission.admit(f"{BACKEND}GetUser", bearer("reader"), 0)
        set_call(call)
        await queue.put(carried(current_call))
        return call

    served = [await asyncio.create_task(serve()) for _ in range(2)]
    assert await emptying == served


async def _empty(queue: "asyncio.Queue[Callable[[], Call]]", count: int) -> list[Call]:
    """Run what is in a queue, in a task that serves no call."""
    return [(await queue.get())() for _ in range(count)]
