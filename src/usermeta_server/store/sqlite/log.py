"""The log of changes in SQLite: how changes are written, read, erased and trimmed. A position is the row's id."""

from collections.abc import Sequence
from typing import Final

import orjson

from usermeta_server.ids import random_bytes
from usermeta_server.model import Actor, Change, ChangeKind, Position, User
from usermeta_server.store.contract import Erasure
from usermeta_server.store.sqlite.tables import Row, Statement

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

DROP_SIGN_UPS: Final = """
    DELETE FROM sign_ups WHERE external_id = ? AND external_id != '' AND state != 'complete' AND version < ?
"""
"""Takes an external id and the version of the erasure: what somebody began under it would bring them back."""

FORGET_REQUESTS_BY: Final = "DELETE FROM requests WHERE principal = ? AND version < ?"
"""Takes a principal and the version of the erasure: what they asked for."""

FORGET_REQUESTS_OF_HOLDER: Final = """
    DELETE FROM requests
    WHERE principal IN (SELECT 'sign_up:' || id FROM sign_ups WHERE created_user_id = ? AND created_user_id != '')
        AND version < ?
"""
"""Takes the id of the user to erase and the version of the erasure: what whoever signed up as them asked for."""

FORGET_REQUESTS_ABOUT: Final = """
    DELETE FROM requests WHERE number IN (SELECT number FROM request_users WHERE user_id = ?) AND version < ?
"""
"""Takes the id of the user to erase and the version of the erasure: what anybody asked for that names them."""

MARK_ERASED: Final = "INSERT OR REPLACE INTO erased_users (user_id, change_id) VALUES (?, ?)"

_SELECT: Final = """
    SELECT c.id, c.nonce, c.time, c.user_id, c.kind, c.audience, c.principal, c.request_id, c.parts, p.state,
        c.state, c.erased, c.last
    FROM changes AS c LEFT JOIN changes AS p ON p.id = c.previous
"""

KEEP_VERSION: Final = "UPDATE state SET value = ? WHERE name = 'version'"
"""For versions that no change has: the last change, which is never trimmed, keeps its own."""

NEWEST: Final = """
    SELECT max(value, coalesce((SELECT max(id) FROM changes), 0)),
        coalesce((SELECT time FROM changes ORDER BY id DESC LIMIT 1), 0)
    FROM state WHERE name = 'version'
"""
"""The version that was given out last, and the time of the last change: later ones are not before it."""

FIND: Final = f"{_SELECT} WHERE c.id = ? AND c.user_id = ?"

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

CHAIN_OF_USER: Final = """
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
    SELECT CASE WHEN :sequence = 0
        THEN NOT EXISTS (SELECT 1 FROM state WHERE name = 'trimmed')
        ELSE EXISTS (SELECT 1 FROM changes WHERE id = :sequence AND nonce = :nonce)
    END
"""


def placed(change: Change) -> Change:
    """Return a change that is about to be committed with its position: its id orders the changes of all users."""
    # Half the cost of _replace, for every write.
    return Change(Position(change.id, random_bytes(8)), *change[1:])


def statements(changes: Sequence[Change], erasures: Sequence[Erasure]) -> list[Statement]:
    """Return what writes changes, and what then forgets what is to be erased."""
    written = Statement(INSERT, [_row_of(change) for change in changes])
    if not erasures:
        return [written]
    gone = [(each.user, each.version) for each in erasures if each.user is not None]
    return [
        written,
        Statement(ERASE, [(user.version,) for user, _ in gone]),
        Statement(FORGET_REQUESTS_OF_HOLDER, [(user.id, version) for user, version in gone]),
        Statement(ERASE_SIGN_UPS, [(user.id,) for user, _ in gone]),
        Statement(DROP_SIGN_UPS, [(each.external_id, each.version) for each in erasures if each.external_id]),
        Statement(FORGET_REQUESTS_BY, [(name, each.version) for each in erasures for name in each.principals]),
        Statement(FORGET_REQUESTS_ABOUT, [(user.id, version) for user, version in gone]),
        Statement(MARK_ERASED, [(user.id, version) for user, version in gone]),
    ]


def _row_of(change: Change) -> Row:
    """Return the row that a change is kept as; of an erased user it says nothing."""
    return (
        *change.position,
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
        Position(change_id, nonce),
        change_id,
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
    # A state from before users had all of today's fields lacks the last of them.
    return User(*orjson.loads(text)) if text else None
