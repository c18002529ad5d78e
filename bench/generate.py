"""Fills a new store with users, straight into its tables: a million take a minute or two.

    python bench/generate.py DATABASE COUNT [--index PATH …]

Each user has a username, an address and three documents, of about 1 KB together. The named paths are indexed.
"""

import argparse
import asyncio
import random
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from usermeta_server.app import open_app
from usermeta_server.core.documents import dump
from usermeta_server.core.profile import identifiers_of
from usermeta_server.core.query import parse_index_path
from usermeta_server.model import IndexState, MetadataIndex, User
from usermeta_server.settings import ServerSettings
from usermeta_server.store.sqlite.selects import entry_rows
from usermeta_server.store.sqlite.tables import TABLES

if TYPE_CHECKING:
    from usermeta_server.store.predicates import DocumentPath
    from usermeta_server.values import JsonObject

CHUNK: Final = 10_000
PLANS: Final = ("free", "pro", "team", "enterprise")
THEMES: Final = ("light", "dark")
GROUPS: Final = 50
EPOCH: Final = 1_760_000_000_000_000
"""When the first user was made, in microseconds; each next one a second later."""

_ENTRIES: Final = "INSERT INTO temp.entries VALUES (?, ?, ?, ?)"
_SORTED_ENTRIES: Final = (
    "INSERT INTO index_entries SELECT * FROM temp.entries ORDER BY index_id, part, key, user_id",
    "INSERT INTO identifiers SELECT * FROM temp.identifiers ORDER BY kind, key",
)
_PRAGMAS: Final = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -262144", "temp_store = FILE")


def documents(number: int, chance: random.Random) -> dict[str, str]:
    """Return the documents of a user, about 1 KB together."""
    made: dict[str, JsonObject] = {
        "public_metadata": {
            "plan": chance.choice(PLANS),
            "country": chance.choice(("DE", "GB", "US")),
            "group": number % GROUPS,
            "score": chance.random(),
        },
        "private_metadata": {
            "credits": number % 1000,
            "note": f"{chance.getrandbits(1800):x}",
            "tags": ["imported", f"t{number % 7}"],
        },
        "unsafe_metadata": {"theme": chance.choice(THEMES), "draft": f"{chance.getrandbits(1800):x}"},
    }
    return {name: dump(value).decode() for name, value in made.items()}


def users(count: int, seed: int) -> Iterator[User]:
    """Yield users in the order of their ids, which is that of their creation."""
    chance = random.Random(seed)  # noqa: S311  # to be repeatable
    for number in range(count):
        made = EPOCH + number * 1_000_000
        yield User(
            id=f"user_{number:010}{chance.getrandbits(80):020x}",
            version=number + 1,
            external_id="",
            username=f"name{number}",
            email_address=f"name{number}@example.com",
            email_address_verified=True,
            first_name="Ada",
            last_name="Lovelace",
            image_url="",
            banned=False,
            **documents(number, chance),
            public_metadata_etag=f"p{number}",
            private_metadata_etag=f"q{number}",
            unsafe_metadata_etag=f"u{number}",
            etag=f"e{number}",
            visible_etag=f"v{number}",
            create_time=made,
            update_time=made,
            visible_update_time=made,
            create_version=number + 1,
        )


def chunks(source: Iterable[User]) -> Iterator[Sequence[User]]:
    """Yield users many at a time."""
    iterator = iter(source)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


async def make_store(database: Path) -> None:
    """Make an empty store."""
    async with open_app(ServerSettings(database_url=database)):
        pass


def fill(database: Path, count: int, paths: Sequence[str] = (), seed: int = 1) -> None:
    """Make a store with so many users and these indexes."""
    asyncio.run(make_store(database))
    indexes: Mapping[DocumentPath, int] = {parse_index_path(path): number for number, path in enumerate(paths, 1)}
    connection = sqlite3.connect(database, isolation_level=None)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    # Gathered first, and written in their order: rows that come in any order cost a tree of a million many times more.
    connection.execute("CREATE TEMP TABLE entries (index_id, part, key, user_id)")
    connection.execute("CREATE TEMP TABLE identifiers (kind, key, user_id)")
    connection.execute("BEGIN")
    for chunk in chunks(users(count, seed)):
        connection.executemany(TABLES["users"].upsert, chunk)
        names: list[Any] = [(each.kind, each.key, user.id) for user in chunk for each in identifiers_of(user)]
        connection.executemany("INSERT INTO temp.identifiers VALUES (?, ?, ?)", names)
        connection.executemany(_ENTRIES, (row for user in chunk for row in entry_rows(user, indexes)))
    for statement in _SORTED_ENTRIES:
        connection.execute(statement)
    upsert, to_row = TABLES["metadata_indexes"].upsert, TABLES["metadata_indexes"].to_row
    for path, number in indexes.items():
        key = (str(path.document), *path.keys)
        connection.execute(upsert, to_row(key, MetadataIndex(key, number, IndexState.READY, "")))
    connection.execute("UPDATE state SET value = ? WHERE name = 'version'", (count + len(paths),))
    connection.execute("COMMIT")
    connection.close()


def main() -> None:
    """Read the options and fill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--index", action="append", default=[], metavar="PATH")
    given = parser.parse_args()
    start = time.perf_counter()
    fill(given.database, given.count, given.index)
    size = given.database.stat().st_size
    print(f"{given.count:,} users, {size / 1e6:,.0f} MB, in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
