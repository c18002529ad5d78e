"""What the tests of RPCs begin with."""

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.auth import oidc
from tests.rpc.methods import Subject, new_subject
from tests.rpc.outside import issuers_file, trusted
from tests.rpc.trusting import Trusting
from tests.support import Service, serving, settings


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """Return a running server that the tests of a module share; it trusts an outside issuer.

    Not all tests share one, for some look at its whole database.
    """
    folder = tmp_path_factory.mktemp("rpc")
    async with serving(settings(folder, issuers=trusted(folder))) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def subject(service: Service) -> Subject:
    """Return a user with documents, a session and a key, and a sign-up, for this test alone."""
    return await new_subject(service)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def trusting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trusting]:
    """Return a server with two issuers, who serve their keys on loopback."""
    folder = tmp_path_factory.mktemp("outside")
    with (
        oidc.serving("https://login.example.com", "EdDSA") as first,
        oidc.serving("https://other.example.com", "ES256") as second,
    ):
        second.rotate("other1")
        issuers = issuers_file(folder, [first.trusted(prefix="a|"), second.trusted(prefix="b|")])
        async with serving(settings(folder, issuers=issuers)) as service:
            yield Trusting(service, first, second)


@pytest.fixture
def sub() -> str:
    """Return the `sub` claim of a person that no other test has."""
    return str(uuid.uuid4())
