"""Indexes on paths: kept up by every commit, and built a few users at a time while the server goes on."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import aiosqlite
import orjson

from usermeta_server.model import Document, IndexState, MetadataIndex, User
from usermeta_server.store.contract import Table
from usermeta_server.store.engine import IndexStep
from usermeta_server.store.predicates import DocumentPath
from usermeta_server.store.sqlite.batch import run_batch
from usermeta_server.store.sqlite.selects import entry_rows
from usermeta_server.store.sqlite.tables import TABLES, USER_COLUMNS, Row, Statement, user_from_row
from usermeta_server.values import MISSING, resolve

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


def ready(indexes: Iterable[MetadataIndex]) -> Mapping[DocumentPath, int]:
    """Return the ids of those indexes that can be used."""
    return _by_path(index for index in indexes if index.state is IndexState.READY)


def statements(users: Table[str, User], indexes: Sequence[MetadataIndex]) -> list[Statement]:
    """Return what a draft's users change in the indexes."""
    gone: set[Row] = set()
    come: set[Row] = set()
    for index in indexes:
        path = _path_of(index)
        for user_id, after in users.changed.items():
            before = users.loaded.get(user_id)
            if before and after and not _differ(before, after, path):
                continue
            gone |= entry_rows(before, {path: index.id}) if before else set()
            come |= entry_rows(after, {path: index.id}) if after else set()
    return [Statement(_DELETE, list(gone - come)), Statement(_INSERT, list(come - gone))]


async def step(connection: aiosqlite.Connection, indexes: Sequence[MetadataIndex], limit: int) -> IndexStep:
    """Build one, or drop the entries of one that is not among them; see `Engine.build_indexes`."""
    building = next((index for index in indexes if index.state is IndexState.BUILDING), None)
    if building is None:
        return IndexStep(await _drop_step(connection, {index.id for index in indexes}, limit))
    rows = await connection.execute_fetchall(_NEXT_USERS, (building.progress, limit))
    users = [user_from_row(row) for row in rows]
    entries = {row for user in users for row in entry_rows(user, _by_path([building]))}
    after = building._replace(
        state=IndexState.BUILDING if len(users) == limit else IndexState.READY,
        progress=users[-1].id if users else building.progress,
    )
    sql = TABLES["metadata_indexes"]
    written = [Statement(_INSERT, list(entries)), Statement(sql.upsert, [sql.to_row(after.path, after)])]
    await run_batch(connection, written)
    return IndexStep(max(len(users), 1), after)


async def _drop_step(connection: aiosqlite.Connection, known: Collection[int], limit: int) -> int:
    index_id = 0
    while rows := list(await connection.execute_fetchall(_NEXT_ID, (index_id,))):
        index_id = rows[0][0]
        if index_id not in known:
            return len(list(await connection.execute_fetchall(_DROP, (index_id, limit))))
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
