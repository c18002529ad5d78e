"""Following what is written: one hub that every commit passes, and the watches on it."""

from usermeta_server.core.watch.events import ChangeEvent, Event, LeftEvent, SnapshotEvent
from usermeta_server.core.watch.hub import Hub
from usermeta_server.core.watch.own import OwnWatch
from usermeta_server.core.watch.users import UsersWatch, WatchBatch, Watches, WatchFilter

__all__ = [
    "ChangeEvent",
    "Event",
    "Hub",
    "LeftEvent",
    "OwnWatch",
    "SnapshotEvent",
    "UsersWatch",
    "WatchBatch",
    "WatchFilter",
    "Watches",
]
