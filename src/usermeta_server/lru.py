"""A least-recently-used map bounded by the weight of what it holds."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruMap(Generic[K, V]):
    """Keeps what was used last, up to a total weight (bytes, or a count when every weight is 1).

    Ours because it stands in the path of every read: cachetools' equivalent costs about ten times as much.
    """

    __slots__ = ("_entries", "_limit", "_weight")

    def __init__(self, limit: int) -> None:
        """Make an empty map that may weigh up to `limit`."""
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._limit = limit
        self._weight = 0

    def get(self, key: K) -> V | None:
        """Return the value under a key, and count it as used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Keep a value, at the expense of those not used for longest."""
        self.pop(key)
        self._entries[key] = (value, weight)
        self._weight += weight
        while self._weight > self._limit:
            _, (_, dropped) = self._entries.popitem(last=False)
            self._weight -= dropped

    def pop(self, key: K) -> None:
        """Drop a key, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._weight -= entry[1]

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self._entries)
