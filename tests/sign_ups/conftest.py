"""What tests of sign-ups begin with: for most the shared server, for those that turn the clock one of their own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.sign_ups.support import Clock
from tests.support import Service, serving, settings


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of this process; a server must be this test's own, for a store's time never goes back."""
    return Clock(monkeypatch)


@pytest_asyncio.fixture
async def own_service(tmp_path: Path) -> AsyncIterator[Service]:
    """Return a running server for this test alone."""
    async with serving(settings(tmp_path)) as running:
        yield running
