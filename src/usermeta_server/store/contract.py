"""The contract of a store: its four sides, what a write may look at, and what a commit is.

Promises, each named, and each held by one suite of tests for every engine:

- **durable**: a write that was acknowledged survives the death of the process and of the machine.
- **serial**: writes have one order; each mutation sees all earlier ones, those of its own batch included.
- **atomic**: a mutation that raises leaves nothing behind, and harms no other write of its batch.
- **linearizable**: for each user, a later read never returns an older version than an earlier read returned, or than
  an acknowledged write made. Reads do not wait for writes.
- **uncancellable**: cancelling a caller never harms the store: its write happens whole or not at all.
- **ordered**: the log has every change once, in the order of commits, and changes of one write together.
- **gapless**: what is read after a position that is kept is all that was committed after it.
- **erased**: what is erased is not in any read, in the log, or in the file.

Nothing above this line knows which engine is used: ids are made by the service, and a mutation is a pure function of
its draft, which can be run again whole.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from usermeta_server.model import (
    Change,
    Identifier,
    MetadataIndex,
    Position,
    RememberedRequest,
    RequestKey,
    SecretKey,
    SigningKey,
    SignUp,
    User,
)
from usermeta_server.store.condition import Condition
from usermeta_server.store.predicates import Predicate, UserQuery

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")


# What a write may look at, and what it leaves


class Reads(NamedTuple):
    """What a mutation may look at, declared beforehand so that a whole batch is read with one query a table.

    Each field is a table of the draft, and holds keys of its rows.
    """

    users: tuple[str, ...] = ()
    identifiers: tuple[Identifier, ...] = ()
    requests: tuple[RequestKey, ...] = ()
    sign_ups: tuple[str, ...] = ()
    metadata_indexes: tuple[tuple[str, ...], ...] = ()
    secret_keys: tuple[str, ...] = ()
    signing_keys: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


class Table(Generic[K, V]):
    """The rows of one kind that a draft sees: what was read, and over it what was written.

    What a mutation puts is `staged` until it is known to stand; then it is among the `changed`.
    `None` is a row that does not exist, or shall not. Looking at a key that was not declared is a
    programming error (LookupError), for it would make the outcome depend on the company in the batch.
    """

    __slots__ = ("_rows", "changed", "declared", "loaded", "staged")

    def __init__(self) -> None:
        """Make an empty table."""
        self.loaded: dict[K, V | None] = {}
        self._rows: dict[K, V | None] = {}
        self.staged: dict[K, V | None] = {}
        self.changed: dict[K, V | None] = {}
        self.declared: Collection[K] = ()

    def missing(self, keys: Iterable[K]) -> list[K]:
        """Return those keys that are still to be read."""
        return [key for key in dict.fromkeys(keys) if key not in self._rows]

    def load(self, keys: Iterable[K], rows: Mapping[K, V]) -> None:
        """Take in what was read for these keys."""
        for key in keys:
            self.loaded[key] = self._rows[key] = rows.get(key)

    def get(self, key: K) -> V | None:
        """Return the row as it is by now."""
        if key in self.staged:
            return self.staged[key]
        if key not in self.declared:
            raise LookupError(key)
        return self._rows[key]

    def put(self, key: K, row: V | None) -> None:
        """Write the row, or with `None` delete it."""
        self.staged[key] = row

    def keep(self) -> None:
        """Let what is staged stand."""
        self._rows.update(self.staged)
        self.changed.update(self.staged)
        self.staged.clear()


class Erasure(NamedTuple):
    """What is to be forgotten in one commit, of what was written before it.

    Attributes:
        version: Sign-ups and remembered requests of this version or later stay: they came after it.
        user: The user whose changes are emptied, and remain as erased; whose sign-ups are emptied, and the requests of
            who holds these forgotten; and every request that names it. None where only an identity goes.
        external_id: Under which sign-ups that are not complete are deleted; empty for none.
        principals: Whose remembered requests are forgotten.
    """

    version: int
    user: User | None
    external_id: str
    principals: tuple[str, ...]


class Draft:
    """The tables that the mutations of one batch see and write, one after the other.

    It has two times, in microseconds since the epoch. `now` is when its writes happen: it orders them, and never goes
    back. `wall` is the real clock's: by it goes what expires.
    """

    __slots__ = (
        "_recorded",
        "_tables",
        "_to_erase",
        "changes",
        "erasures",
        "now",
        "tables",
        "version",
        "wall",
        *Reads._fields,
    )

    def __init__(self, now: int, wall: int, version: int) -> None:
        """Begin with empty tables after the version that was given out last."""
        self.now = now
        self.wall = wall
        self.version = version
        self.changes: list[Change] = []
        self.erasures: list[Erasure] = []
        self._recorded: list[Change] = []
        self._to_erase: list[Erasure] = []
        self.users: Table[str, User] = Table()
        self.identifiers: Table[Identifier, str] = Table()
        self.requests: Table[RequestKey, RememberedRequest] = Table()
        self.sign_ups: Table[str, SignUp] = Table()
        self.metadata_indexes: Table[tuple[str, ...], MetadataIndex] = Table()
        self.secret_keys: Table[str, SecretKey] = Table()
        self.signing_keys: Table[str, SigningKey] = Table()
        self.secrets: Table[str, bytes] = Table()
        self.tables: Mapping[str, Table[Any, Any]] = {name: getattr(self, name) for name in Reads._fields}
        self._tables = tuple(self.tables.values())

    def next_version(self) -> int:
        """Give out the next version: later commits have higher ones, and none is given out twice."""
        self.version += 1
        return self.version

    def declare(self, reads: Reads) -> None:
        """Let the mutation that runs next look at what it declared."""
        for table, keys in zip(self._tables, reads, strict=True):
            table.declared = keys

    def record(self, change: Change) -> None:
        """Write a change into the log; its position is the engine's to give."""
        self._recorded.append(change)

    def erase(self, erasure: Erasure) -> None:
        """Forget what an erasure names: in the log, in sign-ups, in remembered requests."""
        self._to_erase.append(erasure)

    def keep(self) -> None:
        """Let the mutation that has just run stand."""
        if self._recorded:
            self.changes += [each._replace(last=False) for each in self._recorded[:-1]]
            self.changes.append(self._recorded[-1])
            self._recorded = []
        if self._to_erase:
            self.erasures += self._to_erase
            self._to_erase = []
        for table in self._tables:
            if table.staged:
                table.keep()

    def discard(self) -> None:
        """Undo the mutation that has just run."""
        self._recorded = []
        self._to_erase = []
        for table in self._tables:
            table.staged.clear()

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.erasures) or any(table.changed for table in self._tables)


Mutation = Callable[[Draft], T]
"""A pure function of its draft, that puts rows and returns a result, or raises and is as if it never was."""


class Committed(NamedTuple):
    """What one commit made: all that whoever keeps something of the store in memory has to know.

    Each mapping has only what changed; `None` is deleted. `changes` are in the order of the log, with their positions.
    Of a commit whose outcome was found out afterwards only what the engine still tells is here.
    """

    users: Mapping[str, User | None] = {}
    secret_keys: Mapping[str, SecretKey | None] = {}
    metadata_indexes: Mapping[tuple[str, ...], MetadataIndex | None] = {}
    changes: Sequence[Change] = ()
    erasures: Sequence[Erasure] = ()


class Projection(Protocol):
    """What is kept in memory of a store, and follows its commits."""

    def apply(self, committed: Committed) -> None:
        """Follow a commit. It is durable, and stands whatever this does; commits come in their order."""
        ...


class ScanLimitError(Exception):
    """A query took longer than it may: it scans too much."""


# The four sides of a store. Every method may raise STORE_UNAVAILABLE. After a write that failed so it is unknown
# whether it happened. While a store takes no writes, reads go on: what they return was acknowledged.


class Reader(Protocol):
    """What is, by now."""

    def wall_time(self) -> int:
        """Return the real time (microseconds since the epoch), by which goes what expires."""
        ...

    def cached_user(self, user_id: str) -> User | None:
        """Return the user if its current state is at hand without waiting; `None` says nothing about it."""
        ...

    async def user(self, user_id: str) -> User | None:
        """Return the user as it is now, `None` if there is none."""
        ...

    async def users(self, user_ids: Collection[str]) -> Mapping[str, User]:
        """Return those of the users that exist, by id."""
        ...

    async def user_by(self, identifier: Identifier) -> User | None:
        """Return the user that has an identifier."""
        ...

    async def users_after(self, user_id: str, limit: int) -> Sequence[User]:
        """Return up to `limit` users whose id is greater than `user_id`, in the order of their ids."""
        ...

    async def find_users(self, query: UserQuery) -> Sequence[User]:
        """Return a page of users, as they all were at one moment.

        Raises:
            ScanLimitError: it takes longer than a query may.
        """
        ...

    async def count_users(self, predicate: Predicate) -> int:
        """Return how many users fulfil a predicate; raises as `find_users` does."""
        ...

    async def sign_up(self, sign_up_id: str) -> SignUp | None:
        """Return the sign-up as it is now, `None` if there is none."""
        ...

    async def sign_ups(self, after: str, limit: int) -> Sequence[SignUp]:
        """Return up to `limit` sign-ups whose id is greater than `after`, in the order of their ids."""
        ...

    async def secret_keys(self, after: str = "", limit: int = 1000) -> Sequence[SecretKey]:
        """Return up to `limit` secret keys whose id is greater than `after`, in the order of their ids."""
        ...

    async def signing_keys(self) -> Sequence[SigningKey]:
        """Return the signing keys, newest first."""
        ...

    def metadata_indexes(self) -> Sequence[MetadataIndex]:
        """Return the indexes, by their paths."""
        ...


class ChangeLog(Protocol):
    """What was, and what has happened since."""

    def subscribe(self, projection: Projection) -> None:
        """Let a projection follow every commit from now on: in their order, and soon after each."""
        ...

    async def newest(self) -> Position:
        """Return the position of the newest change, `BEGINNING` when there is none."""
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


class Writer(Protocol):
    """What shall be."""

    @property
    def condition(self) -> Condition:
        """Whether writes work."""
        ...

    async def write(self, reads: Reads, mutation: Mutation[T], *, dry_run: bool = False) -> T:
        """Run a mutation, and return what it returned once that is durable.

        What it raises is raised here, and then nothing of it was written. With `dry_run` nothing is written
        in any case.

        Raises:
            UsermetaError: OVERLOADED, when too many writes wait; SHUTTING_DOWN; STORE_UNAVAILABLE, when the outcome is
                unknown.
        """
        ...


class Upkeep(Protocol):
    """What has to be done now and then, a step at a time, so that no write waits long for it."""

    def clock_behind(self) -> int:
        """Return by how much the real clock is behind the time of the newest write (microseconds), 0 if it is not."""
        ...

    async def due_sign_ups(self, now: int, limit: int) -> Sequence[str]:
        """Return the ids of sign-ups whose `sweep_time` has come, those that wait longest first."""
        ...

    async def sweep(self, limit: int = 1000) -> int:
        """Forget up to `limit` remembered requests that have expired, and return how many."""
        ...

    async def build_indexes(self, limit: int = 200) -> int:
        """Do a step of what is to be done about indexes, for up to `limit` users; return for how many it was done."""
        ...

    async def trim_changes(self, older_than: int, keep: int, limit: int = 1000) -> int:
        """Delete up to `limit` of the oldest changes, and return how many went.

        What stays has no gaps: it begins with the first change that is not from before `older_than` (microseconds) and
        whose sequence number is not `keep` or more behind the newest one's; the newest stays.
        """
        ...
