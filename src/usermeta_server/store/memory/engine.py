"""The engine in plain Python: dictionaries and a list, and the contract's shortest telling."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from usermeta_server.ids import random_bytes
from usermeta_server.model import (
    BEGINNING,
    MAKING,
    Actor,
    Change,
    ChangeKind,
    Identifier,
    IndexState,
    MetadataIndex,
    Position,
    SignUpState,
    User,
)
from usermeta_server.store.condition import Cause
from usermeta_server.store.contract import Draft, Erasure, Reads
from usermeta_server.store.engine import Head, Indexes, IndexStep
from usermeta_server.store.evaluation import matcher, place_key, sort_key
from usermeta_server.store.predicates import Predicate, UserQuery

_SEQUENCE: Final = attrgetter("position.sequence")
_ID: Final = attrgetter("id")
_NOBODY: Final = dict.fromkeys(("username", "email_address", "first_name", "last_name", "external_id"), "")
"""What of a sign-up is about the person."""


class MemoryEngine:
    """See `engine.Engine`, which this is."""

    exclusive: Final = True

    def __init__(self) -> None:
        """Begin empty."""
        self._tables: dict[str, dict[Any, Any]] = {name: {} for name in Reads._fields}
        self._log: list[Change] = []
        self._by_user: defaultdict[str, dict[int, Change]] = defaultdict(dict)
        self._trimmed = False
        self._version = 0
        self._sequence = 0

    # Writing

    async def begin(self) -> Head:
        """See `Engine.begin`."""
        return Head(self._version, self._log[-1].time if self._log else 0)

    async def load(self, table: str, keys: Sequence[Hashable]) -> Mapping[Any, Any]:
        """See `Engine.load`."""
        return await self.read(table, keys)

    async def apply(self, draft: Draft, indexes: Sequence[MetadataIndex]) -> Sequence[Change]:
        """See `Engine.apply`; indexes are not needed where everything is at hand."""
        del indexes
        for name, table in draft.tables.items():
            rows = self._tables[name]
            rows.update((key, row) for key, row in table.changed.items() if row is not None)
            for key in [key for key, row in table.changed.items() if row is None]:
                rows.pop(key, None)
        changes = [self._logged(change) for change in draft.changes]
        for erasure in draft.erasures:
            self._erase(erasure)
        self._version = draft.version
        return changes

    def _logged(self, change: Change) -> Change:
        self._sequence += 1
        placed = change._replace(position=Position(self._sequence, random_bytes(8)))
        kept = placed._replace(before=None) if placed.kind is ChangeKind.DELETED else placed
        self._log.append(kept)
        self._by_user[kept.user_id][kept.id] = kept
        return placed

    def _erase(self, erasure: Erasure) -> None:
        requests, sign_ups = self._tables["requests"], self._tables["sign_ups"]
        earlier = {key: row for key, row in requests.items() if row.version < erasure.version}
        names = set(erasure.principals)
        if erasure.user is not None:
            user_id = erasure.user.id
            self._erase_changes(user_id, erasure.user.version)
            made = [each for each in sign_ups.values() if each.created_user_id == user_id]
            names |= {f"sign_up:{each.id}" for each in made}
            sign_ups |= {each.id: each._replace(**_NOBODY) for each in made}
            names_user = {key for key, row in earlier.items() if user_id in row.user_ids}
        else:
            names_user = set()
        for key in names_user | {key for key in earlier if key.principal in names}:
            del requests[key]
        for each in list(sign_ups.values()) if erasure.external_id else ():
            begun = each.state is not SignUpState.COMPLETE and each.version < erasure.version
            if begun and each.external_id == erasure.external_id:
                del sign_ups[each.id]

    def _erase_changes(self, user_id: str, last_id: int) -> None:
        def erased(change: Change) -> Change:
            return _erased(change) if change.user_id == user_id and change.id <= last_id else change

        self._log = list(map(erased, self._log))
        self._by_user[user_id] = {change_id: erased(each) for change_id, each in self._by_user[user_id].items()}

    async def end(self) -> None:
        """See `Engine.end`."""

    # Reading

    async def read(self, table: str, keys: Sequence[Hashable]) -> Mapping[Any, Any]:
        """See `Engine.read`."""
        rows = self._tables[table]
        return {key: rows[key] for key in keys if key in rows}

    async def page(self, table: str, after: str, limit: int) -> Sequence[Any]:
        """See `Engine.page`."""
        rows = self._tables[table]
        return [rows[key] for key in sorted(key for key in rows if key > after)[:limit]]

    async def everything(self, table: str) -> Sequence[Any]:
        """See `Engine.everything`."""
        return list(self._tables[table].values())

    async def user_by(self, identifier: Identifier) -> User | None:
        """See `Engine.user_by`."""
        user: User | None = self._tables["users"].get(self._tables["identifiers"].get(identifier))
        return user

    async def find(self, query: UserQuery, indexes: Indexes) -> Sequence[User]:
        """See `Engine.find`."""
        del indexes
        key = sort_key(query.order)
        found = sorted(filter(matcher(query.predicate), self._tables["users"].values()), key=key)
        start = bisect_right(found, place_key(query.order)(query.after), key=key) if query.after else 0
        return found[start : start + query.limit]

    async def count(self, predicate: Predicate, indexes: Indexes) -> int:
        """See `Engine.count`."""
        del indexes
        return sum(map(matcher(predicate), self._tables["users"].values()))

    async def due_sign_ups(self, now: int, limit: int) -> Sequence[str]:
        """See `Engine.due_sign_ups`."""
        due = [each for each in self._tables["sign_ups"].values() if each.sweep_time <= now]
        return [each.id for each in sorted(due, key=attrgetter("sweep_time"))[:limit]]

    # The log of changes

    async def newest(self) -> Position:
        """See `Engine.newest`."""
        return self._log[-1].position if self._log else BEGINNING

    async def is_kept(self, position: Position) -> bool:
        """See `Engine.is_kept`."""
        if position == BEGINNING:
            return not self._trimmed
        at = bisect_right(self._log, position.sequence, key=_SEQUENCE) - 1
        return at >= 0 and self._log[at].position == position

    async def changes_after(self, position: Position, limit: int) -> Sequence[Change]:
        """See `Engine.changes_after`."""
        start = bisect_right(self._log, position.sequence, key=_SEQUENCE)
        return self._log[start : start + limit]

    async def find_change(self, user_id: str, change_id: int) -> Change | None:
        """See `Engine.find_change`."""
        return self._by_user[user_id].get(change_id)

    async def user_changes(self, user_id: str, before_id: int, limit: int) -> Sequence[Change]:
        """See `Engine.user_changes`."""
        changes = list(self._by_user[user_id].values())
        if before_id:
            at = bisect_right(changes, before_id, key=_ID) - 1
            known = at >= 0 and changes[at].id == before_id and changes[at].kind not in MAKING
            changes = changes[:at] if known else []
        # What comes before a user was made is of another, who had the same id.
        made = next((at for at in reversed(range(len(changes))) if changes[at].kind in MAKING), 0)
        return changes[made:][::-1][:limit]

    # Upkeep

    async def sweep(self, now: int, limit: int) -> int:
        """See `Engine.sweep`."""
        requests = self._tables["requests"]
        expired = [key for key, request in requests.items() if request.expire_time <= now][:limit]
        for key in expired:
            del requests[key]
        return len(expired)

    async def trim(self, older_than: int, keep: int, limit: int) -> int:
        """See `Engine.trim`."""
        count = 0
        for change in self._log[:-1][:limit]:
            if change.time >= older_than and change.position.sequence > self._sequence - keep:
                break
            count += 1
            del self._by_user[change.user_id][change.id]
        self._trimmed |= count > 0
        del self._log[:count]
        return count

    async def build_indexes(self, indexes: Sequence[MetadataIndex], limit: int) -> IndexStep:
        """See `Engine.build_indexes`: an index is ready at once, for there is nothing to build."""
        del limit
        building = next((index for index in indexes if index.state is IndexState.BUILDING), None)
        if building is None:
            return IndexStep(0, None)
        ready = building._replace(state=IndexState.READY)
        self._tables["metadata_indexes"][ready.path] = ready
        return IndexStep(1, ready)

    async def wipe(self) -> None:
        """See `Engine.wipe`: there is nowhere else where it stands."""

    # Faults

    def cause_of(self, error: Exception) -> Cause | None:
        """See `Engine.cause_of`: nothing here fails as a disk does."""
        del error
        return None

    def check(self) -> None:
        """See `Engine.check`."""

    async def recover(self, cause: Cause) -> None:
        """See `Engine.recover`."""
        del cause

    async def close(self) -> None:
        """See `Engine.close`: what is here can be opened again for as long as the engine is."""


def _erased(change: Change) -> Change:
    actor = change.actor
    if actor.principal.startswith("identity:"):
        actor = Actor(actor.audience, "identity:")
    return change._replace(actor=actor, request_id="", parts=(), before=None, after=None, erased=True)
