"""Indexes on paths: kept up by every commit, and built a few users at a time while the server goes on."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

import aiosqlite
import orjson

from usermeta_server.model import Document, IndexState, MetadataIndex, User
from usermeta_server.store.base import Table
from usermeta_server.store.query import DocumentPath
from usermeta_server.store.sqlite.batch import Statement
from usermeta_server.store.sqlite.queries import entry_rows
from usermeta_server.store.sqlite.tables import TABLES, USER_COLUMNS, Row, index_from_row, user_from_row
from usermeta_server.store.values import MISSING, resolve

_ALL: Final = "SELECT path, id, state, progress FROM metadata_indexes ORDER BY path"
_INSERT: Final = "INSERT OR IGNORE INTO index_entries (index_id, part, key, user_id) VALUES (?, ?, ?, ?)"
_DELETE: Final = "DELETE FROM index_entries WHERE index_id = ? AND part = ? AND key = ? AND user_id = ?"
_NEXT_USERS: Final = f"SELECT {USER_COLUMNS} FROM users WHERE id > ? ORDER BY id LIMIT ?"
_NEXT_ID: Final = "SELECT index_id FROM index_entries WHERE index_id > ? ORDER BY index_id LIMIT 1"
_DROP: Final = """
    DELETE FROM index_entries
    WHERE (index_id, part, key, user_id)
        IN (SELECT index_id, part, key, user_id FROM index_entries WHERE index_id = ? LIMIT ?)
    RETURNING 1
"""


class Indexes:
    """The indexes of a database. Only the writer changes them."""

    def __init__(
        self, connection: aiosqlite.Connection, write: Callable[[Sequence[Statement]], Awaitable[None]]
    ) -> None:
        """Keep them on the writing connection; `write` writes a batch of statements there."""
        self._connection = connection
        self._write = write
        self.all: Sequence[MetadataIndex] = ()

    def use(self, connection: aiosqlite.Connection) -> None:
        """Go on with another writing connection."""
        self._connection = connection

    async def load(self) -> None:
        """Read which there are."""
        self.all = [index_from_row(row) for row in await self._connection.execute_fetchall(_ALL)]

    def ready(self) -> Mapping[DocumentPath, int]:
        """Return the ids of those that can be used."""
        return _by_path(index for index in self.all if index.state is IndexState.READY)

    def statements(self, users: Table[str, User]) -> list[Statement]:
        """Return what a transaction's users change in the indexes."""
        gone: set[Row] = set()
        come: set[Row] = set()
        for index in self.all:
            path = _path_of(index)
            for user_id, after in users.changed.items():
                before = users.loaded.get(user_id)
                if before and after and not _differ(before, after, path):
                    continue
                gone |= entry_rows(before, {path: index.id}) if before else set()
                come |= entry_rows(after, {path: index.id}) if after else set()
        return [Statement(_DELETE, list(gone - come)), Statement(_INSERT, list(come - gone))]

    async def step(self, limit: int) -> int:
        """Build, or drop the entries of what was deleted, for up to `limit` users; return for how many."""
        building = next((index for index in self.all if index.state is IndexState.BUILDING), None)
        if building is None:
            return await self._drop_step(limit)
        rows = await self._connection.execute_fetchall(_NEXT_USERS, (building.progress, limit))
        users = [user_from_row(row) for row in rows]
        entries = {row for user in users for row in entry_rows(user, _by_path([building]))}
        after = building._replace(
            state=IndexState.BUILDING if len(users) == limit else IndexState.READY,
            progress=users[-1].id if users else building.progress,
        )
        sql = TABLES["metadata_indexes"]
        await self._write(
            [Statement(_INSERT, list(entries)), Statement(sql.upsert, [sql.to_row(after.path, after)])],
        )
        await self.load()
        return max(len(users), 1)

    async def _drop_step(self, limit: int) -> int:
        known = {index.id for index in self.all}
        index_id = 0
        while rows := list(await self._connection.execute_fetchall(_NEXT_ID, (index_id,))):
            index_id = rows[0][0]
            if index_id not in known:
                return len(list(await self._connection.execute_fetchall(_DROP, (index_id, limit))))
        return 0


def _differ(before: User, after: User, path: DocumentPath) -> bool:
    """Tell whether a user's entries may have changed: only if the member has that the path goes into."""
    texts = (before.document(path.document), after.document(path.document))
    if texts[0] == texts[1]:
        return False
    was, is_now = (resolve(orjson.loads(text), path.keys[:1]) for text in texts)
    return was is MISSING or is_now is MISSING or orjson.dumps(was) != orjson.dumps(is_now)


def _by_path(indexes: Iterable[MetadataIndex]) -> Mapping[DocumentPath, int]:
    return {_path_of(index): index.id for index in indexes}


def _path_of(index: MetadataIndex) -> DocumentPath:
    return DocumentPath(Document(index.path[0]), index.path[1:])
