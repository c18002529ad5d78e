"""Tokens while their issuer changes its keys, is down, or is slow."""

import asyncio

from tests.auth.oidc import Clock, Oidc, public_jwk
from tests.auth.support import NOW, ROGUE, refusal, trusting
from usermeta_server.auth.jwks import PAUSE
from usermeta_server.errors import Reason


async def test_rotation(oidc: Oidc, clock: Clock) -> None:
    """Tokens of a new key work at once; those of a key that was withdrawn with it stop, though remembered."""
    async with trusting(oidc.trusted(), clock=clock) as tokens:
        old = oidc.token(NOW)
        assert await tokens.authenticate(old, NOW)
        oidc.rotate("k2")
        clock.now += PAUSE
        assert tokens.cached(old, NOW)
        assert await tokens.authenticate(oidc.token(NOW), NOW)
        assert (await refusal(tokens, old)).reason is Reason.CREDENTIAL_INVALID


async def test_a_key_that_stays_keeps_its_tokens(oidc: Oidc, clock: Clock) -> None:
    """While an issuer serves two keys, tokens of both work."""
    async with trusting(oidc.trusted(), clock=clock) as tokens:
        old, kept = oidc.token(NOW), list(oidc.listed)
        assert await tokens.authenticate(old, NOW)
        oidc.rotate("k2")
        oidc.listed += kept
        clock.now += PAUSE
        assert await tokens.authenticate(oidc.token(NOW), NOW)
        assert await tokens.authenticate(old, NOW)
        assert tokens.cached(old, NOW)
        assert oidc.requests == 2


async def test_a_withdrawn_key_takes_its_tokens_with_it(oidc: Oidc, clock: Clock) -> None:
    """Though every call uses one remembered token, a key that its issuer withdrew stops working in the end."""
    async with trusting(oidc.trusted(), clock=clock) as tokens:
        token = oidc.token(NOW)
        assert await tokens.authenticate(token, NOW)
        oidc.rotate("k2")
        clock.now += oidc.trusted().max_age
        assert tokens.cached(token, NOW) is None
        assert await tokens.authenticate(token, NOW)
        await refusal(tokens, oidc.token(NOW, {"kid": "k3"}))  # waits for the fetch that the call before began
        assert (await refusal(tokens, token)).reason is Reason.CREDENTIAL_INVALID


async def test_an_issuer_that_is_down(oidc: Oidc, clock: Clock) -> None:
    """Its keys are kept, and go on verifying, remembered tokens and new ones."""
    async with trusting(oidc.trusted(), clock=clock) as tokens:
        old = oidc.token(NOW)
        assert await tokens.authenticate(old, NOW)
        oidc.down()
        clock.now += oidc.trusted().max_age
        error = await refusal(tokens, oidc.token(NOW, {"kid": "k2"}))
        assert (error.reason, error.metadata) == (Reason.CREDENTIAL_INVALID, {"issuer": oidc.issuer})
        assert tokens.cached(old, NOW)
        assert await tokens.authenticate(oidc.token(NOW, jti="new"), NOW)


async def test_an_issuer_that_was_never_reached(oidc: Oidc, clock: Clock) -> None:
    """Without its keys no token is valid; the error names the issuer, so that a client can tell, and it passes."""
    oidc.down()
    async with trusting(oidc.trusted(), clock=clock) as tokens:
        token = oidc.token(NOW)
        for _ in range(2):
            error = await refusal(tokens, token)
            assert (error.reason, error.metadata) == (Reason.CREDENTIAL_INVALID, {"issuer": oidc.issuer})
            assert "retry later" in error.message
        oidc.up()
        clock.now += PAUSE
        assert await tokens.authenticate(token, NOW)


async def test_a_slow_issuer_holds_up_nobody_else(oidc: Oidc, other: Oidc, clock: Clock) -> None:
    """While a token with an unknown key waits for its slow issuer, all other tokens are verified."""
    async with trusting(oidc.trusted(prefix="a|"), other.trusted(prefix="b|"), clock=clock) as tokens:
        known, fresh = oidc.token(NOW), oidc.token(NOW, jti="fresh")
        assert await tokens.authenticate(known, NOW)
        oidc.rotate("k2")
        clock.now += PAUSE
        with oidc.slow():
            newcomer = asyncio.create_task(tokens.authenticate(oidc.token(NOW, sub="bob"), NOW))
            await oidc.asked()
            assert tokens.cached(known, NOW)
            assert (await tokens.authenticate(fresh, NOW)).subject == "alice"
            assert (await tokens.authenticate(other.token(NOW), NOW)).issuer == other.issuer
            assert not newcomer.done()
        assert (await newcomer).subject == "bob"


async def test_a_token_without_a_key_id(oidc: Oidc, clock: Clock) -> None:
    """It is verified with its issuer's only key, and refused when there are two."""
    async with trusting(oidc.trusted(), clock=clock) as tokens:
        token = oidc.token(NOW, {"kid": None})
        assert await tokens.authenticate(token, NOW)
        oidc.listed.append(public_jwk(ROGUE, kid="k2"))
        clock.now += PAUSE
        await refusal(tokens, oidc.token(NOW, {"kid": "k3"}))
        assert (await refusal(tokens, token)).reason is Reason.CREDENTIAL_INVALID
