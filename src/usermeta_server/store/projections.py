"""What is kept in memory of a store and follows its commits: its own projections first, then whoever subscribed."""

import logging
from collections.abc import Sequence

from usermeta_server.model import BEGINNING, MetadataIndex, Position
from usermeta_server.store.cache import UserCache
from usermeta_server.store.contract import Committed, Projection

log = logging.getLogger(__name__)


class IndexRegistry:
    """Which indexes there are, by their paths."""

    def __init__(self) -> None:
        """Begin without any."""
        self.all: Sequence[MetadataIndex] = ()

    def replace(self, indexes: Sequence[MetadataIndex]) -> None:
        """Know these, and no others."""
        self.all = tuple(sorted(indexes))

    def apply(self, committed: Committed) -> None:
        """See `contract.Projection`."""
        changed = committed.metadata_indexes
        if changed:
            kept = [index for index in self.all if index.path not in changed]
            self.replace([*kept, *(index for index in changed.values() if index is not None)])


class Projections:
    """All that follows the commits of one store: `position` is that of the last change that they followed."""

    def __init__(self, users: UserCache, indexes: IndexRegistry) -> None:
        """Begin with the store's own."""
        self.users = users
        self.indexes = indexes
        self.position: Position = BEGINNING
        self._subscribed: list[Projection] = []

    def subscribe(self, projection: Projection) -> None:
        """See `contract.ChangeLog`."""
        self._subscribed.append(projection)

    def apply(self, committed: Committed) -> None:
        """Let all follow a commit. It stands by now: what a subscriber makes of it must not fail its callers."""
        self.users.apply(committed)
        self.indexes.apply(committed)
        if committed.changes:
            self.position = committed.changes[-1].position
        for projection in self._subscribed:
            try:
                projection.apply(committed)
            except Exception:
                log.exception("%s cannot follow a commit", type(projection).__name__)
