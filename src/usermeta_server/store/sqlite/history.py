"""The history of users in SQLite: how changes are written, read, erased and trimmed."""

from collections.abc import Sequence
from typing import Final

import orjson

from usermeta_server.model import Actor, Change, ChangeKind, User
from usermeta_server.store.sqlite.batch import Statement
from usermeta_server.store.sqlite.tables import Row

_COLUMNS: Final = (
    "id, nonce, time, user_id, kind, audience, principal, request_id, parts, previous, state, erased, last"
)

INSERT: Final = f"INSERT INTO changes ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

ERASE: Final = """
    UPDATE changes
    SET state = '', parts = '', request_id = '', erased = 1,
        principal = CASE WHEN principal LIKE 'identity:%' THEN 'identity:' ELSE principal END
    WHERE id IN (
        WITH RECURSIVE chain (id) AS (
            SELECT ?
            UNION ALL
            SELECT changes.previous FROM changes JOIN chain ON changes.id = chain.id WHERE changes.previous > 0
        )
        SELECT id FROM chain
    )
"""
"""Takes the last change of the user to erase."""

ERASE_SIGN_UPS: Final = """
    UPDATE sign_ups SET username = '', email_address = '', first_name = '', last_name = '', external_id = ''
    WHERE created_user_id = ? AND created_user_id != ''
"""

DROP_SIGN_UPS: Final = "DELETE FROM sign_ups WHERE external_id = ? AND external_id != '' AND state != 'complete'"
"""Takes an external id: what somebody began under it would bring them back."""

ERASE_REQUESTS: Final = "DELETE FROM requests WHERE principal IN ('user:' || ?, 'identity:' || ?)"
"""Takes the id and the external id of the user to erase."""

MARK_ERASED: Final = "INSERT OR REPLACE INTO erased_users (user_id, change_id) VALUES (?, ?)"

_SELECT: Final = """
    SELECT c.id, c.nonce, c.time, c.user_id, c.kind, c.audience, c.principal, c.request_id, c.parts, p.state,
        c.state, c.erased, c.last
    FROM changes AS c LEFT JOIN changes AS p ON p.id = c.previous
"""

KEEP_VERSION: Final = "UPDATE state SET value = ? WHERE name = 'version'"
"""For versions that no change has: the last change, which is never trimmed, keeps its own."""

LAST_VERSION: Final = """
    SELECT max(value, coalesce((SELECT max(id) FROM changes), 0)) FROM state WHERE name = 'version'
"""

FIND: Final = f"{_SELECT} WHERE c.id = ?"

AFTER: Final = f"{_SELECT} WHERE c.id > ? ORDER BY c.id LIMIT ?"

LAST: Final = "SELECT id, nonce FROM changes ORDER BY id DESC LIMIT 1"

OF_USER: Final = f"""
    WITH RECURSIVE chain (id, number) AS (
        SELECT :start, 1
        UNION ALL
        SELECT changes.previous, number + 1 FROM changes JOIN chain ON changes.id = chain.id
        WHERE changes.previous > 0 AND number < :limit
    )
    {_SELECT} JOIN chain ON c.id = chain.id ORDER BY c.id DESC
"""

NEWEST_OF_USER: Final = """
    SELECT coalesce(
        (SELECT version FROM users WHERE id = :user_id),
        (SELECT change_id FROM erased_users WHERE user_id = :user_id)
    )
"""

PREVIOUS: Final = "SELECT previous FROM changes WHERE id = ? AND user_id = ?"

TRIM: Final = """
    WITH oldest AS (SELECT id, time FROM changes ORDER BY id LIMIT :limit),
        newest AS (SELECT max(id) AS id FROM changes)
    DELETE FROM changes
    WHERE id <= (SELECT max(id) FROM oldest) AND id < coalesce(
        (SELECT min(id) FROM oldest WHERE time >= :older_than AND id > (SELECT id FROM newest) - :keep),
        (SELECT id FROM newest)
    )
    RETURNING user_id, id
"""
"""Deletes from the beginning up to the first change to keep, for a clock that went back must not leave a gap."""

FORGET_ERASED: Final = "DELETE FROM erased_users WHERE user_id = ? AND change_id = ?"

MARK_TRIMMED: Final = "INSERT OR IGNORE INTO state (name, value) VALUES ('trimmed', 1)"
"""From then on history does not begin at its beginning."""

IS_KEPT: Final = """
    SELECT CASE WHEN :change_id = 0
        THEN NOT EXISTS (SELECT 1 FROM state WHERE name = 'trimmed')
        ELSE EXISTS (SELECT 1 FROM changes WHERE id = :change_id AND nonce = :nonce)
    END
"""


def statements(changes: Sequence[Change]) -> list[Statement]:
    """Return what writes changes, and what erases and forgets what they say is gone."""
    written = Statement(INSERT, [_row_of(change) for change in changes])
    tombstones = [change for change in changes if change.kind is ChangeKind.DELETED]
    gone = [change.before for change in tombstones if change.before]
    renamed = [change.before for change in changes if change.before and "external_id" in change.parts]
    if not tombstones and not renamed:
        return [written]
    forgotten = [*((user.id, user.external_id) for user in gone), *(("", user.external_id) for user in renamed)]
    return [
        written,
        Statement(ERASE, [(user.version,) for user in gone]),
        Statement(ERASE_SIGN_UPS, [(user.id,) for user in gone]),
        Statement(DROP_SIGN_UPS, [(user.external_id,) for user in gone if user.external_id]),
        Statement(ERASE_REQUESTS, forgotten),
        Statement(MARK_ERASED, [(change.user_id, change.id) for change in tombstones]),
    ]


def _row_of(change: Change) -> Row:
    """Return the row that a change is kept as; of an erased user it says nothing."""
    return (
        change.id,
        change.nonce,
        change.time,
        change.user_id,
        change.kind,
        *change.actor,
        change.request_id,
        ",".join(change.parts),
        change.before.version if change.before else 0,
        orjson.dumps(tuple(change.after)).decode() if change.after else "",
        change.erased,
        change.last,
    )


def change_from_row(row: Row) -> Change:
    """Make a change of a row that `FIND`, `AFTER` or `OF_USER` selected."""
    change_id, nonce, time, user_id, kind, audience, principal, request_id, parts, before, after, *rest = row
    return Change(
        change_id,
        nonce,
        time,
        user_id,
        ChangeKind(kind),
        Actor(audience, principal),
        request_id,
        tuple(parts.split(",")) if parts else (),
        _state(before),
        _state(after),
        *map(bool, rest),
    )


def _state(text: str | None) -> User | None:
    return User._make(orjson.loads(text)) if text else None
