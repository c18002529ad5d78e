"""A token has one spelling (RFC 7515: base64url without padding): no other text of it is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.auth.oidc import Oidc
from tests.auth.spellings import other_spellings
from tests.auth.support import NOW, refusal, trusting
from tests.support import USER
from usermeta_server import base64url
from usermeta_server.auth.jws import issuer_of
from usermeta_server.auth.session_tokens import SessionTokens, new_signing_key
from usermeta_server.auth.sign_up_tokens import SignUpTokens
from usermeta_server.core.tokens import Tokens
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import SECOND


@given(st.binary(max_size=80))
def test_bytes_are_spelled_in_one_way(data: bytes) -> None:
    text = base64url.encode(data)
    assert base64url.decode(text) == data
    assert "=" not in text


@given(st.text(alphabet="AQgwz-_+/= \n\u00e9", max_size=8))
def test_a_text_that_spells_bytes_is_how_they_are_spelled(text: str) -> None:
    try:
        data = base64url.decode(text)
    except ValueError:
        return
    assert base64url.encode(data) == text


async def test_an_outside_token_has_one_spelling(oidc: Oidc) -> None:
    async with trusting(oidc.trusted()) as tokens:
        token = oidc.token(NOW)
        spellings = list(other_spellings(token))
        assert len(spellings) > 25
        for other in spellings:
            assert (await refusal(tokens, other)).reason is Reason.CREDENTIAL_INVALID
        assert await tokens.authenticate(token, NOW)
        for other in spellings:
            assert (await refusal(tokens, other)).reason is Reason.CREDENTIAL_INVALID


def test_a_session_token_has_one_spelling() -> None:
    sessions = SessionTokens([new_signing_key(NOW)])
    token, _ = sessions.issue(USER, NOW, 60 * SECOND)
    for _ in range(2):
        for other in other_spellings(token):
            assert issuer_of(other) is None
            with pytest.raises(UsermetaError) as caught:
                sessions.authenticate(other, NOW)
            assert caught.value.reason is Reason.CREDENTIAL_INVALID
        assert sessions.authenticate(token, NOW).id == "user_1"


def test_a_sign_up_token_has_one_spelling() -> None:
    tokens = SignUpTokens(b"key")
    token = tokens.make(f"signup_{'0' * 26}")
    others = {token + "=", token + "==", token + "\n", token.replace("_", "/")}
    others |= {token[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"} - {
        token
    }
    for other in others:
        with pytest.raises(UsermetaError):
            tokens.authenticate(other)
    assert tokens.authenticate(token)


@pytest.mark.parametrize("place", [1, [1, "a"], ["abcdef", 12345678]])
def test_a_page_token_has_one_spelling(place: list[int | str]) -> None:
    tokens = Tokens(b"key", "page_token", Reason.PAGE_TOKEN_INVALID)
    token = tokens.make("list", place)  # type: ignore[arg-type]  # JSON, of which lists are invariant
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
    for other in {token + "=", token + "\n", *(token[:-1] + last for last in alphabet)} - {token}:
        with pytest.raises(UsermetaError):
            tokens.read("list", other)
    assert tokens.read("list", token) == place
