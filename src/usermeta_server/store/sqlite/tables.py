"""How each kind of row is read and written: one entry a table, with its SQL and the shape of its rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from usermeta_server.model import (
    Identifier,
    IdentifierKind,
    IndexState,
    MetadataIndex,
    RememberedRequest,
    RequestKey,
    Scope,
    SecretKey,
    SigningKey,
    SignUp,
    SignUpState,
    User,
)
from usermeta_server.store.contract import Table

Row = Sequence[Any]


class Statement(NamedTuple):
    """A statement, and the rows of values that it is run for. One with `VALUES (?, …)` is run for many rows at once."""

    sql: str
    rows: Sequence[Row]


USER_COLUMNS: Final = (
    "id, version, external_id, username, email_address, email_address_verified, first_name, last_name, image_url,"
    " banned, public_metadata, private_metadata, unsafe_metadata, public_metadata_etag, private_metadata_etag,"
    " unsafe_metadata_etag, etag, visible_etag, create_time, update_time, visible_update_time, create_version"
)
SECRET_KEY_COLUMNS: Final = "id, display_name, scopes, digest, create_time, expire_time, revoke_time"  # noqa: S105  # names
SIGN_UP_COLUMNS: Final = (
    "id, version, state, username, email_address, email_address_verified, first_name, last_name, external_id,"
    " public_metadata, private_metadata, unsafe_metadata, etag, visible_etag, created_user_id, abandon_time,"
    " create_time, update_time, visible_update_time, close_time, sweep_time"
)
SIGNING_KEY_COLUMNS: Final = "id, private_pem, create_time"
_REQUEST_COLUMNS: Final = "principal, request_id, method, digest, outcome, expire_time, version, user_ids"
_INDEX_COLUMNS: Final = "path, id, state, progress"


class TableSql(NamedTuple):
    """One table of a draft.

    `columns` are those of the rows that `from_row` takes; `select` takes a JSON array of keys, `upsert` and `delete`
    take what `to_row` and `to_key` make. `is_another` tells whether a row is not the earlier one under its key with
    changes, but another, for which that is deleted first: an upsert does not write what never changes, and so SQLite
    need not touch the indexes on it.
    """

    columns: str
    select: str
    upsert: str
    delete: str
    from_row: Callable[[Row], tuple[Any, Any]]
    to_row: Callable[[Any, Any], Row]
    to_key: Callable[[Any], Row]
    is_another: Callable[[Any, Any], bool] = lambda _, __: False


def user_from_row(row: Row) -> User:
    """Make a user of a row of `USER_COLUMNS`."""
    return User._make((*row[:5], bool(row[5]), *row[6:9], bool(row[9]), *row[10:]))


def sign_up_from_row(row: Row) -> SignUp:
    """Make a sign-up of a row of `SIGN_UP_COLUMNS`."""
    return SignUp._make((*row[:2], SignUpState(row[2]), *row[3:5], bool(row[5]), *row[6:]))


def index_from_row(row: Row) -> MetadataIndex:
    """Make an index of its row."""
    return MetadataIndex(tuple(orjson.loads(row[0])), row[1], IndexState(row[2]), row[3])


def _path_text(path: Sequence[str]) -> str:
    return orjson.dumps(list(path)).decode()


def secret_key_from_row(row: Row) -> SecretKey:
    """Make a secret key of a row of `SECRET_KEY_COLUMNS`."""
    scopes = tuple(Scope[name] for name in row[2].split())
    return SecretKey(row[0], row[1], scopes, *row[3:])


def _secret_key_row(_: str, key: SecretKey) -> Row:
    return (key.id, key.display_name, " ".join(scope.name for scope in key.scopes), *key[3:])


def _single(key: str) -> Row:
    return (key,)


TABLES: Final[Mapping[str, TableSql]] = {
    "users": TableSql(
        columns=USER_COLUMNS,
        select=f"SELECT {USER_COLUMNS} FROM users WHERE id IN (SELECT value FROM json_each(?))",
        upsert=f"""
            INSERT INTO users ({USER_COLUMNS})
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET
                version = excluded.version, external_id = excluded.external_id, username = excluded.username,
                email_address = excluded.email_address, email_address_verified = excluded.email_address_verified,
                first_name = excluded.first_name, last_name = excluded.last_name, image_url = excluded.image_url,
                banned = excluded.banned, public_metadata = excluded.public_metadata,
                private_metadata = excluded.private_metadata, unsafe_metadata = excluded.unsafe_metadata,
                public_metadata_etag = excluded.public_metadata_etag,
                private_metadata_etag = excluded.private_metadata_etag,
                unsafe_metadata_etag = excluded.unsafe_metadata_etag, etag = excluded.etag,
                visible_etag = excluded.visible_etag, update_time = excluded.update_time,
                visible_update_time = excluded.visible_update_time
        """,
        delete="DELETE FROM users WHERE id = ?",
        from_row=lambda row: (row[0], user_from_row(row)),
        to_row=lambda _, user: user,
        to_key=_single,
        is_another=lambda before, after: bool(before.create_version != after.create_version),
    ),
    "identifiers": TableSql(
        columns="kind, key, user_id",
        select="""
            SELECT kind, key, user_id FROM identifiers
            WHERE (kind, key) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))
        """,
        upsert="INSERT INTO identifiers (kind, key, user_id) VALUES (?, ?, ?)"
        " ON CONFLICT (kind, key) DO UPDATE SET user_id = excluded.user_id",
        delete="DELETE FROM identifiers WHERE kind = ? AND key = ?",
        from_row=lambda row: (Identifier(IdentifierKind(row[0]), row[1]), row[2]),
        to_row=lambda identifier, user_id: (*identifier, user_id),
        to_key=tuple,
    ),
    "requests": TableSql(
        columns=_REQUEST_COLUMNS,
        select=f"""
            SELECT {_REQUEST_COLUMNS} FROM requests
            WHERE (principal, request_id)
                IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))
        """,
        upsert=f"INSERT OR REPLACE INTO requests ({_REQUEST_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        delete="DELETE FROM requests WHERE principal = ? AND request_id = ?",
        from_row=lambda row: (
            RequestKey(row[0], row[1]),
            RememberedRequest._make((*row[2:-1], tuple(orjson.loads(row[-1])))),
        ),
        to_row=lambda key, request: (*key, *request[:-1], orjson.dumps(request.user_ids).decode()),
        to_key=tuple,
    ),
    "metadata_indexes": TableSql(
        columns=_INDEX_COLUMNS,
        select=f"SELECT {_INDEX_COLUMNS} FROM metadata_indexes WHERE path IN (SELECT value FROM json_each(?))",
        upsert=f"INSERT OR REPLACE INTO metadata_indexes ({_INDEX_COLUMNS}) VALUES (?, ?, ?, ?)",
        delete="DELETE FROM metadata_indexes WHERE path = ?",
        from_row=lambda row: ((index := index_from_row(row)).path, index),
        to_row=lambda path, index: (_path_text(path), *index[1:]),
        to_key=lambda path: (_path_text(path),),
    ),
    "sign_ups": TableSql(
        columns=SIGN_UP_COLUMNS,
        select=f"SELECT {SIGN_UP_COLUMNS} FROM sign_ups WHERE id IN (SELECT value FROM json_each(?))",
        upsert=f"INSERT OR REPLACE INTO sign_ups ({SIGN_UP_COLUMNS})"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        delete="DELETE FROM sign_ups WHERE id = ?",
        from_row=lambda row: (row[0], sign_up_from_row(row)),
        to_row=lambda _, sign_up: sign_up,
        to_key=_single,
    ),
    "secret_keys": TableSql(
        columns=SECRET_KEY_COLUMNS,
        select=f"SELECT {SECRET_KEY_COLUMNS} FROM secret_keys WHERE id IN (SELECT value FROM json_each(?))",
        upsert=f"INSERT OR REPLACE INTO secret_keys ({SECRET_KEY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        delete="DELETE FROM secret_keys WHERE id = ?",
        from_row=lambda row: (row[0], secret_key_from_row(row)),
        to_row=_secret_key_row,
        to_key=_single,
    ),
    "signing_keys": TableSql(
        columns=SIGNING_KEY_COLUMNS,
        select=f"SELECT {SIGNING_KEY_COLUMNS} FROM signing_keys WHERE id IN (SELECT value FROM json_each(?))",
        upsert=f"INSERT OR REPLACE INTO signing_keys ({SIGNING_KEY_COLUMNS}) VALUES (?, ?, ?)",
        delete="DELETE FROM signing_keys WHERE id = ?",
        from_row=lambda row: (row[0], SigningKey._make(row)),
        to_row=lambda _, key: key,
        to_key=_single,
    ),
    "secrets": TableSql(
        columns="name, value",
        select="SELECT name, value FROM secrets WHERE name IN (SELECT value FROM json_each(?))",
        upsert="INSERT OR REPLACE INTO secrets (name, value) VALUES (?, ?)",
        delete="DELETE FROM secrets WHERE name = ?",
        from_row=lambda row: (row[0], row[1]),
        to_row=lambda name, value: (name, value),
        to_key=_single,
    ),
}
"""By the names of a transaction's tables, in the order in which they are written."""


def table_statements(name: str, table: Table[Any, Any]) -> Sequence[Statement]:
    """Return what writes the changed rows of a draft's table."""
    if not table.changed:
        return ()
    sql, loaded = TABLES[name], table.loaded
    gone = [
        sql.to_key(key)
        for key, row in table.changed.items()
        if row is None or ((before := loaded.get(key)) is not None and sql.is_another(before, row))
    ]
    rows = [sql.to_row(key, row) for key, row in table.changed.items() if row is not None]
    return Statement(sql.delete, gone), Statement(sql.upsert, rows)
