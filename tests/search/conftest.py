"""What tests of finding users begin with: for most the shared server, for those about indexes one of their own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support import Service, serving, settings


@pytest.fixture
def quick_upkeep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a server look often whether there is an index to build."""
    monkeypatch.setattr("usermeta_server.upkeep._INDEX_SECONDS", 0.01)


@pytest_asyncio.fixture
async def own(tmp_path: Path, quick_upkeep: None) -> AsyncIterator[Service]:  # noqa: ARG001  # it sets up
    """Return a running server for this test alone."""
    async with serving(settings(tmp_path)) as running:
        yield running
