"""Secret keys: made, listed, revoked, and the last one that may do everything."""

import asyncio

import pytest

from tests.core.support import INTENT, OPERATOR, TRIAL, Core, refusal
from usermeta_server.caller import Audience, Principal, PrincipalKind
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import SECOND, Scope


async def principal_of(core: Core, secret: str) -> Principal:
    """Return whom a secret stands for."""
    return await core.app.authenticator.authenticate(Audience.BACKEND, [f"Bearer {secret}"])


async def test_a_key_stands_for_its_highest_scope_until_it_expires(core: Core) -> None:
    expire_time = core.store.wall_time() + SECOND
    made = await core.keys.create(OPERATOR, "a key", (Scope.WRITE, Scope.READ, Scope.WRITE), expire_time, INTENT)
    assert made.key.scopes == (Scope.READ, Scope.WRITE)
    principal = await principal_of(core, made.secret)
    assert (principal.id, principal.scope) == (made.key.id, Scope.WRITE)
    core.clock.turn(1)
    await refusal(principal_of(core, made.secret), Reason.CREDENTIAL_EXPIRED)


async def test_a_revoked_key_is_refused_and_stays_as_it_is(core: Core) -> None:
    made = await core.keys.create(OPERATOR, "a key", (Scope.WRITE,), 0, INTENT)
    principal = await principal_of(core, made.secret)
    revoked = await core.keys.revoke(made.key.id, INTENT)
    assert revoked.revoke_time
    await refusal(principal_of(core, made.secret), Reason.CREDENTIAL_INVALID)
    with pytest.raises(Exception, match="CREDENTIAL_INVALID"):
        core.app.authenticator.check(principal)
    core.clock.turn(1)
    assert await core.keys.revoke(made.key.id, INTENT) == revoked


async def test_a_key_that_is_none_is_not_revoked(core: Core) -> None:
    await refusal(core.keys.revoke("key_none", INTENT), Reason.SECRET_KEY_NOT_FOUND)


@pytest.mark.parametrize("own", [None, *Scope])
@pytest.mark.parametrize("scope", Scope)
async def test_nobody_makes_a_key_that_may_do_more_than_their_own(core: Core, own: Scope | None, scope: Scope) -> None:
    principal = Principal(PrincipalKind.SECRET_KEY, "key_1", own)
    call = core.keys.create(principal, "a key", (Scope.READ, scope), 0, INTENT)
    if own is not None and own >= scope:
        assert max((await call).key.scopes) is scope
    else:
        assert (await refusal(call, Reason.SCOPE_INSUFFICIENT)).metadata == {"required_scope": scope.name.lower()}
        assert await core.keys.list("", 10) == []


@pytest.mark.parametrize("name", ["", " a key", "a\nkey", "x" * 257])
async def test_a_key_needs_a_name_that_can_be_shown(core: Core, name: str) -> None:
    error = await refusal(core.keys.create(OPERATOR, name, (Scope.READ,), 0, INTENT), Reason.FIELD_INVALID)
    assert [each.field for each in error.violations] == ["display_name"]


async def test_no_key_is_made_that_would_have_expired_already(core: Core) -> None:
    now = core.store.wall_time()
    error = await refusal(core.key(expire_time=now), Reason.FIELD_INVALID)
    assert error.metadata["field"] == "expire_time"
    assert await core.key(expire_time=now + 1)


async def test_the_last_admin_key_is_not_revoked(core: Core) -> None:
    first, second = await core.key(), await core.key()
    assert (await core.keys.revoke(first, INTENT)).revoke_time
    await refusal(core.keys.revoke(second, INTENT), Reason.LAST_ADMIN_KEY)
    assert [each.id for each in await core.keys.list("", 10) if not each.revoke_time] == [second]
    await core.key()
    assert (await core.keys.revoke(second, INTENT)).revoke_time


async def test_no_key_that_expires_or_may_do_less_stands_in_for_the_last_admin_key(core: Core) -> None:
    last = await core.key()
    others = [await core.key(expire_time=core.store.wall_time() + SECOND), await core.key(Scope.WRITE)]
    await refusal(core.keys.revoke(last, INTENT), Reason.LAST_ADMIN_KEY)
    for other in others:
        assert (await core.keys.revoke(other, INTENT)).revoke_time


async def test_of_two_admin_keys_that_revoke_each_other_at_once_one_stays(core: Core) -> None:
    keys = [await core.key(), await core.key()]
    results = await asyncio.gather(*(core.keys.revoke(each, INTENT) for each in keys), return_exceptions=True)
    assert [each.reason for each in results if isinstance(each, UsermetaError)] == [Reason.LAST_ADMIN_KEY]


async def test_keys_are_listed_from_the_oldest_on_without_their_secrets(core: Core) -> None:
    made = []
    for _ in range(3):
        made.append(await core.keys.create(OPERATOR, "a key", (Scope.READ,), 0, INTENT))
        core.clock.turn(1)
    first = await core.keys.list("", 2)
    rest = await core.keys.list(first[-1].id, 2)
    assert [*first, *rest] == [each.key for each in made]
    assert not any(new.secret.encode() in key.digest for new, key in zip(made, [*first, *rest], strict=True))


async def test_a_trial_makes_no_key_and_revokes_none(core: Core) -> None:
    tried = await core.keys.create(OPERATOR, "a key", (Scope.READ,), 0, TRIAL)
    assert (tried.key.id, tried.secret) == ("", "")
    assert await core.keys.list("", 10) == []
    last = await core.key()
    await refusal(core.keys.revoke(last, TRIAL), Reason.LAST_ADMIN_KEY)
    await core.key()
    await core.keys.revoke(last, TRIAL)
    assert not any(each.revoke_time for each in await core.keys.list("", 10))
