"""What the tests of RPCs begin with."""

import pytest_asyncio

from tests.rpc.methods import Subject, new_subject
from tests.support import Service


@pytest_asyncio.fixture(loop_scope="session")
async def subject(service: Service) -> Subject:
    """Return a user with documents, a session and a key, for this test alone."""
    return await new_subject(service)
