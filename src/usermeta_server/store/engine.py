"""The narrow protocol of an engine: what the store asks of whatever keeps its rows.

An engine knows no cache, no projection and no use case. It reads at any time; it is given one batch of writes, or one
step of upkeep, at a time. What it raises is its own, unless said otherwise: `cause_of` says what that means.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from usermeta_server.model import Change, Identifier, MetadataIndex, Position, User
from usermeta_server.store.condition import Cause
from usermeta_server.store.contract import Draft
from usermeta_server.store.predicates import Predicate, UserQuery


class Head(NamedTuple):
    """Where the last commit left an engine.

    Attributes:
        version: The version that was given out last.
        time: When the newest change was made, in microseconds since the epoch; 0 if there is none.
    """

    version: int
    time: int


class IndexStep(NamedTuple):
    """What a step of building or dropping indexes did: for how many users, and the index that is other now, if any."""

    users: int
    built: MetadataIndex | None = None


Indexes = Callable[[], Sequence[MetadataIndex]]
"""Tells which indexes there are by now: one may be dropped while a query that uses it runs."""


class Engine(Protocol):
    """What keeps the rows."""

    @property
    def exclusive(self) -> bool:
        """Whether nobody else writes, so that what was committed here last is what is."""
        ...

    # One batch of writes: begin, load, apply if there is anything to write, and always end.

    async def begin(self) -> Head:
        """Take the turn to write, and return what the batch comes after, a commit of unknown outcome included."""
        ...

    async def load(self, table: str, keys: Sequence[Hashable]) -> Mapping[Any, Any]:
        """Return the rows of a table of the draft that have these keys, as the batch sees them, with one query."""
        ...

    async def apply(self, draft: Draft, indexes: Sequence[MetadataIndex]) -> Sequence[Change]:
        """Make what a draft changed durable; return its changes with their positions.

        Args:
            draft: what was read and written.
            indexes: those that are to be kept up.

        Raises:
            Exception: nothing was changed, or it is unknown whether it was.
        """
        ...

    async def end(self) -> None:
        """Give up the turn."""
        ...

    # Reading

    async def read(self, table: str, keys: Sequence[Hashable]) -> Mapping[Any, Any]:
        """Return the committed rows of a table that have these keys."""
        ...

    async def page(self, table: str, after: str, limit: int) -> Sequence[Any]:
        """Return up to `limit` rows of `users`, `sign_ups` or `secret_keys`, those whose id is greater than `after`.

        They come in the order of their ids.
        """
        ...

    async def everything(self, table: str) -> Sequence[Any]:
        """Return all rows of `metadata_indexes`, `secret_keys` or `signing_keys`, of which there are few."""
        ...

    async def user_by(self, identifier: Identifier) -> User | None:
        """Return the user that has an identifier."""
        ...

    async def find(self, query: UserQuery, indexes: Indexes) -> Sequence[User]:
        """Return a page of users as they all were at one moment.

        Raises:
            ScanLimitError: it takes longer than a query may.
        """
        ...

    async def count(self, predicate: Predicate, indexes: Indexes) -> int:
        """Return how many users fulfil a predicate; raises as `find` does."""
        ...

    async def due_sign_ups(self, now: int, limit: int) -> Sequence[str]:
        """Return the ids of sign-ups whose `sweep_time` has come, those that wait longest first."""
        ...

    # The log of changes

    async def newest(self) -> Position:
        """Return the position of the newest change."""
        ...

    async def is_kept(self, position: Position) -> bool:
        """Tell whether a position is in this log and everything after it is still kept."""
        ...

    async def changes_after(self, position: Position, limit: int) -> Sequence[Change]:
        """Return up to `limit` changes after a position, in the order of commits."""
        ...

    async def find_change(self, user_id: str, change_id: int) -> Change | None:
        """Return a change of a user."""
        ...

    async def user_changes(self, user_id: str, before_id: int, limit: int) -> Sequence[Change]:
        """Return up to `limit` changes of a user, newest first; with `before_id` those whose id is lower."""
        ...

    # Upkeep, a step at a time between two batches

    async def sweep(self, now: int, limit: int) -> int:
        """Forget up to `limit` remembered requests that have expired, and return how many."""
        ...

    async def trim(self, older_than: int, keep: int, limit: int) -> int:
        """Delete up to `limit` of the oldest changes; see `contract.Upkeep.trim_changes`."""
        ...

    async def build_indexes(self, indexes: Sequence[MetadataIndex], limit: int) -> IndexStep:
        """Do a step of building one of these indexes, or of dropping entries of one that is not among them."""
        ...

    async def wipe(self) -> None:
        """Take what was erased out of where it still stands, as far as that goes now; it is done again later."""
        ...

    # Faults

    def cause_of(self, error: Exception) -> Cause | None:
        """Tell what an error says of whether writes work; `None` when it is about something else."""
        ...

    def check(self) -> None:
        """Raise what `cause_of` knows, if the rows are not where they were any more. It does not wait."""
        ...

    async def recover(self, cause: Cause) -> None:
        """Open again what writes, check what may be damaged, and try to write; raise if that fails."""
        ...

    async def close(self) -> None:
        """Let go of everything, whatever of it fails."""
        ...
