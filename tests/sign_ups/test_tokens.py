"""The sign-up token: the only way to a sign-up, good for nothing else, and silent about what exists."""

from collections.abc import Sequence
from typing import NamedTuple

import grpc
import pytest

from tests.sign_ups.support import DAY, begin
from tests.support import BACKEND, FRONTEND, Clock, Service, bearer, refused, serving, settings
from usermeta_server.auth.sign_up_tokens import SignUpTokens
from usermeta_server.caller import PrincipalKind
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.ids import new_id
from usermeta_server.server import BACKEND as BACKEND_SERVICE
from usermeta_server.server import FRONTEND as FRONTEND_SERVICE

HOLDERS: Sequence[str] = [f"{FRONTEND}{name}" for name in ("GetSignUp", "UpdateSignUp", "CompleteSignUp")]
OTHERS = [
    *(f"{FRONTEND}{each.name}" for each in FRONTEND_SERVICE.methods if f"{FRONTEND}{each.name}" not in HOLDERS),
    *(f"{BACKEND}{each.name}" for each in BACKEND_SERVICE.methods),
]


class Answer(NamedTuple):
    """How a call was refused, all of it."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: tuple[tuple[str, str], ...]


async def answers(service: Service, token: str) -> set[Answer]:
    """Return how the methods of the holder refuse a credential: one answer, if they all say the same."""
    told = [await refused(service.raw(method, b"", bearer(token))) for method in HOLDERS]
    return {Answer(each.code, each.message, each.reason, tuple(each.metadata.items())) for each in told}


@pytest.mark.parametrize("method", OTHERS)
async def test_a_sign_up_token_opens_nothing_else(service: Service, method: str) -> None:
    pending = await begin(service)
    await refused(service.raw(method, b"", bearer(pending.token)), "CREDENTIAL_INVALID")
    await pending.complete()
    await refused(service.raw(method, b"", bearer(pending.token)), "CREDENTIAL_INVALID")


@pytest.mark.parametrize("method", HOLDERS)
async def test_nothing_else_opens_a_sign_up(service: Service, method: str) -> None:
    user = await service.user()
    pending = await begin(service)
    done = await pending.complete()
    for token in (await service.session(user.id), done.session_token, service.admin_key, "nonsense", pending.id):
        await refused(service.raw(method, b"", bearer(token)), "CREDENTIAL_INVALID")
    await refused(service.raw(method, b""), "CREDENTIAL_MISSING")


def tampered(token: str) -> list[str]:
    """Return tokens that are not quite this one."""
    swapped = [f"{token[:at]}{'b' if token[at] != 'b' else 'c'}{token[at + 1 :]}" for at in range(len(token))]
    return [*swapped, token[:-1], f"{token}A", f"{token}=", token.upper(), f"{token} ", token.replace("_", "-")]


async def test_a_tampered_token_says_nothing_of_what_exists(service: Service) -> None:
    """One letter off is refused, and the same as the token of a sign-up that never was."""
    pending = await begin(service)
    rest = pending.token[30:]
    never_was = f"sut_{new_id('signup', 1).removeprefix('signup_')}{rest}"
    expected = await answers(service, never_was)
    assert len(expected) == 1
    assert {each.reason for each in expected} == {"CREDENTIAL_INVALID"}
    for token in (pending.token[:-1] + ("A" if pending.token[-1] != "A" else "E"), f"{pending.token[:30]}{'A' * 44}"):
        assert await answers(service, token) == expected
    assert await pending.seen() == pending.first


def test_every_letter_of_a_token_counts() -> None:
    tokens, sign_up_id = SignUpTokens(b"k" * 32), new_id("signup", 1)
    token = tokens.make(sign_up_id)
    principal = tokens.authenticate(token)
    assert (principal.kind, principal.id, principal.user_id) == (PrincipalKind.SIGN_UP, sign_up_id, "")
    for bad in tampered(token):
        with pytest.raises(UsermetaError) as caught:
            tokens.authenticate(bad)
        assert caught.value.reason is Reason.CREDENTIAL_INVALID
    with pytest.raises(UsermetaError):
        SignUpTokens(b"l" * 32).authenticate(token)


async def test_an_expired_token_says_nothing_of_what_exists(own_service: Service, clock: Clock) -> None:
    """Abandoned, closed by the sweeper, deleted at last: the holder of the token can't tell which."""
    pending = await begin(own_service)
    clock.turn(DAY + 1)
    expected = await answers(own_service, pending.token)
    assert {each.reason for each in expected} == {"CREDENTIAL_EXPIRED"}
    assert len(expected) == 1
    sweep = own_service.server.app.use_cases.sign_ups.sweep
    for days in (0, 31):
        clock.turn(days * DAY)
        assert await sweep() == 1
        assert await answers(own_service, pending.token) == expected
    assert await own_service.server.app.store.sign_up(pending.id) is None
    stranger = SignUpTokens(b"k" * 32).make(pending.id)
    assert {each.reason for each in await answers(own_service, stranger)} == {"CREDENTIAL_INVALID"}


async def test_a_token_outlives_the_server_and_opens_no_other_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("one")
    async with serving(settings(folder)) as service:
        pending = await begin(service)
    async with serving(settings(folder)) as service:
        made = await service.raw(HOLDERS[0], b"", bearer(pending.token))
        assert pending.id.encode() in made
    async with serving(settings(tmp_path_factory.mktemp("other"))) as service:
        await refused(service.raw(HOLDERS[0], b"", bearer(pending.token)), "CREDENTIAL_INVALID")
