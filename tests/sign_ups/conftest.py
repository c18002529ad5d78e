"""What tests of sign-ups begin with: for most the shared server, for those that turn the clock one of their own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support import Clock, Service, serving, settings


@pytest.fixture
def clock() -> Clock:
    """Return the clock of `own_service`."""
    return Clock()


@pytest_asyncio.fixture
async def own_service(tmp_path: Path, clock: Clock) -> AsyncIterator[Service]:
    """Return a running server for this test alone, that goes by the test's clock."""
    async with serving(settings(tmp_path), clock=clock) as running:
        yield running
