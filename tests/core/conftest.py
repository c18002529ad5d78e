"""The use cases without a channel, on the memory engine."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.core.support import Core
from tests.support import Clock, settings
from usermeta_server.app import open_app
from usermeta_server.settings import MEMORY

OpenCore = Callable[..., AbstractAsyncContextManager[Core]]


@pytest.fixture
def open_core(tmp_path: Path) -> OpenCore:
    """Return what opens the use cases with settings of the test's own."""

    @asynccontextmanager
    async def opened(**changes: Any) -> AsyncIterator[Core]:  # noqa: ANN401  # any setting
        clock = Clock()
        clock.stop()
        async with open_app(settings(tmp_path, database_url=MEMORY, **changes), clock=clock) as app:
            yield Core(app, clock)

    return opened


@pytest.fixture
async def core(open_core: OpenCore) -> AsyncIterator[Core]:
    """Return the use cases on an empty store."""
    async with open_core() as opened:
        yield opened
