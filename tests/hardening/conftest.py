"""A server for a test alone: some of these reach into its store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support import Service, serving, settings


@pytest_asyncio.fixture
async def own_service(tmp_path: Path) -> AsyncIterator[Service]:
    """Return a running server for this test alone."""
    async with serving(settings(tmp_path)) as running:
        yield running
