"""Sessions: whose token it is, how long it holds, and who gets none."""

import pytest

from tests.core.support import INTENT, TRIAL, Core, asked, refusal, username
from usermeta_server.caller import Audience, Caller
from usermeta_server.core.sessions import Sessions
from usermeta_server.core.user_refs import UserRef
from usermeta_server.errors import Reason
from usermeta_server.model import HOUR, SECOND


async def caller_with(core: Core, token: str) -> Caller:
    """Return who calls from a frontend with a token."""
    principal = await core.app.authenticator.authenticate(Audience.FRONTEND, [f"Bearer {token}"])
    return Caller(Audience.FRONTEND, "test", principal)


@pytest.mark.parametrize("ref", ["user_1", username("ADA")])
async def test_a_session_acts_as_its_user_until_it_expires(core: Core, ref: UserRef) -> None:
    user = await core.user("user_1", username="ada")
    session = await core.sessions.create(ref, HOUR, INTENT)
    caller = await caller_with(core, session.token)
    assert await core.users.get(caller, user.id) == user
    core.clock.turn((session.expire_time - core.store.wall_time()) / SECOND)
    await refusal(caller_with(core, session.token), Reason.CREDENTIAL_EXPIRED)


async def test_a_session_that_began_before_acts_as_nobody_once_its_user_is_erased(core: Core) -> None:
    user = await core.user("user_1")
    caller = await caller_with(core, (await core.sessions.create(user.id, HOUR, INTENT)).token)
    await core.users.delete(user.id, "", INTENT)
    await refusal(core.users.get(caller, user.id), Reason.USER_NOT_FOUND)
    await core.user("user_1")
    await refusal(core.users.get(caller, user.id), Reason.USER_NOT_FOUND)


@pytest.mark.parametrize("ref", ["user_none", username("none")])
async def test_nobody_gets_no_session(core: Core, ref: UserRef) -> None:
    await refusal(core.sessions.create(ref, HOUR, INTENT), Reason.USER_NOT_FOUND)


async def test_a_banned_user_gets_no_session_until_it_is_banned_no_more(core: Core) -> None:
    user = await core.user(banned=True)
    await refusal(core.sessions.create(user.id, HOUR, INTENT), Reason.USER_BANNED)
    await core.update(user.id, banned=False)
    assert (await core.sessions.create(user.id, HOUR, INTENT)).token


async def test_a_session_is_of_who_has_the_identifier_by_then(core: Core) -> None:
    first, second = await core.user(username="ada"), await core.user()

    async def hand_over() -> None:
        await core.update(first.id, username="")
        await core.update(second.id, username="ada")

    sessions = Sessions(core.store, core.racing(hand_over), core.app.tokens)
    caller = await caller_with(core, (await sessions.create(username("ada"), HOUR, INTENT)).token)
    assert caller.principal.user_id == second.id


async def test_a_trial_makes_no_token_and_is_refused_as_a_session_would_be(core: Core) -> None:
    user = await core.user()
    assert (await core.sessions.create(user.id, HOUR, TRIAL)).token == ""
    await core.update(user.id, banned=True)
    await refusal(core.sessions.create(user.id, HOUR, TRIAL), Reason.USER_BANNED)


async def test_a_session_that_was_asked_for_is_not_recalled_of_who_is_erased(core: Core) -> None:
    user = await core.user()
    await core.sessions.create(user.id, HOUR, asked("1"))
    await core.users.delete(user.id, "", INTENT)
    await refusal(core.sessions.create(user.id, HOUR, asked("1")), Reason.USER_NOT_FOUND)
