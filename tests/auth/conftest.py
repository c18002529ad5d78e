"""Two issuers that run for a test, and the clock by which their keys age."""

from collections.abc import Iterator

import pytest

from tests.auth.oidc import Clock, Oidc, serving


@pytest.fixture
def oidc() -> Iterator[Oidc]:
    """Return an issuer with an RSA key."""
    with serving("https://login.example.com", "RS256") as issuer:
        yield issuer


@pytest.fixture
def other() -> Iterator[Oidc]:
    """Return another issuer, with an EC key."""
    with serving("https://other.example.com", "ES256") as issuer:
        issuer.rotate("other1")
        yield issuer


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()
