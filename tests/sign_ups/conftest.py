"""What tests of sign-ups begin with: for most the shared server, for those that turn the clock one of their own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support import Service, serving, settings


@pytest_asyncio.fixture
async def own_service(tmp_path: Path) -> AsyncIterator[Service]:
    """Return a running server for this test alone."""
    async with serving(settings(tmp_path)) as running:
        yield running
