"""Folding in SQL, and folding all identifiers anew when the store's were folded by other rules or another Unicode."""

import logging
from typing import Final

import aiosqlite

from usermeta_server.store.predicates import FOLDS
from usermeta_server.store.sqlite.conditions import folded_column
from usermeta_server.unicode import FOLD_VERSION, fold

log = logging.getLogger(__name__)

FUNCTIONS: Final = {function.__name__: function for function in (fold, *FOLDS.values())}
"""What SQL folds by, by the names that it knows."""

_KINDS: Final = ", ".join(f"'{kind}'" for kind in FOLDS)

_FORGET: Final = f"DELETE FROM identifiers WHERE kind IN ({_KINDS})"

_KEEP_HOLDERS: Final = f"""
    CREATE TEMP TABLE holders AS SELECT kind, user_id FROM identifiers WHERE kind IN ({_KINDS})
"""
_FIND_HOLDERS: Final = "CREATE INDEX temp.holders_by_user ON holders (user_id, kind)"

_CLAIM: Final = """
    INSERT OR IGNORE INTO identifiers (kind, key, user_id)
    SELECT '{kind}', {key} AS key, u.id FROM users AS u
    WHERE key != '' AND {condition} ORDER BY u.create_version, u.create_time, u.id
"""
_HELD: Final = "EXISTS (SELECT 1 FROM temp.holders AS h WHERE h.user_id = u.id AND h.kind = '{kind}')"

_CONFLICTS: Final = """
    SELECT count(*) FROM users AS u
    WHERE u.{kind} != '' AND NOT EXISTS (
        SELECT 1 FROM identifiers AS i WHERE i.kind = '{kind}' AND i.key = {key} AND i.user_id = u.id
    )
"""


async def add_folds(connection: aiosqlite.Connection) -> None:
    """Let the SQL of a connection fold."""
    for name, function in FUNCTIONS.items():
        await connection.create_function(name, 1, function, deterministic=True)


async def is_due(connection: aiosqlite.Connection) -> bool:
    """Tell whether the identifiers were folded by other rules than this program's, or another version of Unicode."""
    ((version,),) = await connection.execute_fetchall("SELECT version FROM folding")
    return bool(version != FOLD_VERSION)


async def refold(connection: aiosqlite.Connection) -> None:
    """Fold the identifiers of all users anew, if that is due, in one transaction.

    Where two are the same now, who has one keeps it before who lost theirs to another earlier, and of those who have
    one who was made first. The others' texts stay as they are, and nobody is found by them.
    """
    if not await is_due(connection):
        return
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    try:
        lost = await _refold(connection)
        await connection.execute_fetchall("UPDATE folding SET version = ?", (FOLD_VERSION,))
        await connection.execute_fetchall("COMMIT")
    except BaseException:
        await connection.execute_fetchall("ROLLBACK")
        raise
    if lost:
        log.warning(
            "%d identifiers belong to another user since they are folded by %s: see `usermeta users conflicts`",
            lost,
            FOLD_VERSION,
        )


async def _refold(connection: aiosqlite.Connection) -> int:
    """Fold anew; return how many texts are no identifier of their user's."""
    for statement in (_KEEP_HOLDERS, _FIND_HOLDERS, _FORGET):
        await connection.execute_fetchall(statement)
    lost = 0
    for kind, function in FOLDS.items():
        key = folded_column(f"u.{kind}", function)
        for condition in (_HELD.format(kind=kind), "1"):
            await connection.execute_fetchall(_CLAIM.format(kind=kind, key=key, condition=condition))
        ((count,),) = await connection.execute_fetchall(_CONFLICTS.format(kind=kind, key=key))
        lost += count
    await connection.execute_fetchall("DROP TABLE temp.holders")
    return lost
