"""The fixtures of the contract suite."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.store.contract import ENGINES, EngineUnderTest, Moments, OpenStore, Stepped
from usermeta_server.clock import Clock, wall_clock
from usermeta_server.store import store as store_module
from usermeta_server.store.store import Store

if TYPE_CHECKING:
    from usermeta_server.store.engine import Engine


@pytest.fixture
def moments() -> Moments:
    """Return the moments at which the test can step into the engine's work."""
    return Moments()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> EngineUnderTest:
    """Return each engine in turn, unless it opts out of the test."""
    chosen = ENGINES[request.param]
    reason = chosen.opts_out.get(request.function.__name__)
    if reason:
        pytest.skip(reason)
    return chosen


@pytest.fixture
def open_store(engine: EngineUnderTest, tmp_path: Path, moments: Moments, monkeypatch: pytest.MonkeyPatch) -> OpenStore:
    """Return what opens the test's store, and closes it when its context is left."""
    monkeypatch.setattr(store_module, "LOOK_SECONDS", 0.01)
    opener = engine.opener(tmp_path)

    @asynccontextmanager
    async def opened(*, cache_bytes: int = 1 << 20, clock: Clock = wall_clock) -> AsyncIterator[Store]:
        stepped = cast("Engine", Stepped(await opener(), moments))
        store = await Store.open(stepped, cache_bytes=cache_bytes, clock=clock)
        try:
            yield store
        finally:
            await store.close()

    return opened
