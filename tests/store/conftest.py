"""The fixtures of the contract suite."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.store.contract import ENGINES, Engine, Moments, OpenStore
from usermeta_server.store.base import Store
from usermeta_server.store.sqlite import store as store_module


@pytest.fixture
def moments() -> Moments:
    """Return the moments at which the test can step into the engine's work."""
    return Moments()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Return each engine in turn, unless it opts out of the test."""
    chosen = ENGINES[request.param]
    reason = chosen.opts_out.get(request.function.__name__)
    if reason:
        pytest.skip(reason)
    return chosen


@pytest.fixture
def open_store(engine: Engine, tmp_path: Path, moments: Moments, monkeypatch: pytest.MonkeyPatch) -> OpenStore:
    """Return what opens the test's store, and closes it when its context is left."""
    monkeypatch.setattr(store_module, "LOOK_SECONDS", 0.01)

    @asynccontextmanager
    async def opened(*, cache_bytes: int = 1 << 20) -> AsyncIterator[Store]:
        store = await engine.open(tmp_path, cache_bytes, moments)
        try:
            yield store
        finally:
            await store.close()

    return opened
