"""What a server does without being asked: it deletes what has expired, and builds indexes."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from usermeta_server.app import App
from usermeta_server.clock import ClockWatch
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import SECOND
from usermeta_server.settings import ServerSettings

log = logging.getLogger(__name__)

_SWEEP_SECONDS: Final = 60
_INDEX_SECONDS: Final = 1
_SLICE: Final = 1000
"""Changes that are trimmed at once, between two batches of writes."""


@asynccontextmanager
async def kept_up(app: App, settings: ServerSettings) -> AsyncIterator[None]:
    """Do the upkeep of a store until the context is left."""
    tasks = [asyncio.create_task(_sweep(app, settings)), asyncio.create_task(_build_indexes(app))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _sweep(app: App, settings: ServerSettings) -> None:
    """Delete what has expired, a little at a time."""
    age = int(settings.history_age * SECOND)
    clock = ClockWatch(app.store.clock_behind)
    while True:
        clock.look()
        try:
            while await app.store.sweep() + await app.use_cases.sign_ups.sweep():
                pass
            # Only whole slices are worth another round at once: under load there is always one more change to trim.
            while await app.store.trim_changes(app.store.wall_time() - age, settings.history_count, _SLICE) == _SLICE:
                pass
        except Exception as error:  # noqa: BLE001  # it is logged
            _log("sweeping", error)
        await asyncio.sleep(_SWEEP_SECONDS)


async def _build_indexes(app: App) -> None:
    """Build indexes a few users at a time, and look now and then whether there is one to build."""
    while True:
        try:
            while await app.store.build_indexes():
                pass
        except Exception as error:  # noqa: BLE001  # it is logged
            _log("building an index", error)
        await asyncio.sleep(_INDEX_SECONDS)


def _log(what: str, error: Exception) -> None:
    """Log that a piece of upkeep failed, unless it is for the store's condition, which that has logged."""
    if not (isinstance(error, UsermetaError) and error.reason is Reason.STORE_UNAVAILABLE):
        log.error("%s failed; it will be tried again", what, exc_info=error)
