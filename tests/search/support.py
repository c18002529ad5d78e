"""What tests of finding users share: users told apart by a mark, lists page by page, indexes and their entries."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from tests.support import Service, until
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.metadata_index_pb2 import MetadataIndex
from usermeta.backend.v1.user_pb2 import User
from usermeta_server.core.query import parse_index_path
from usermeta_server.model import User as ModelUser
from usermeta_server.store.contract import Draft, Reads
from usermeta_server.store.sqlite.selects import entry_rows
from usermeta_server.store.sqlite.tables import USER_COLUMNS, user_from_row
from usermeta_server.store.store import Store

READY: Final = MetadataIndex.STATE_READY
BUILDING: Final = MetadataIndex.STATE_BUILDING


def mark() -> str:
    """Return a word that no other test's users have, to find a test's own by."""
    return f"m{uuid4().hex}"


async def put(store: Store, users: Sequence[ModelUser]) -> None:
    """Write users as they are, in one transaction and without history."""

    def change(draft: Draft) -> None:
        for each in users:
            draft.users.put(each.id, each._replace(version=draft.next_version()))

    await store.write(Reads(users=tuple(each.id for each in users)), change)


# Lists


def listing(**fields: Any) -> pb.ListUsersRequest:  # noqa: ANN401  # any field of the request
    """Return a request of ListUsers."""
    return pb.ListUsersRequest(**fields)


async def page(service: Service, **fields: Any) -> pb.ListUsersResponse:  # noqa: ANN401  # as above
    """Return one page."""
    return await service.admin.ListUsers(listing(**fields))


async def pages(service: Service, **fields: Any) -> list[list[User]]:  # noqa: ANN401  # as above
    """Return all pages, from the first one or from a token on."""
    found = []
    while True:
        answer = await page(service, **fields)
        found.append(list(answer.users))
        if not answer.next_page_token:
            return found
        fields["page_token"] = answer.next_page_token


async def everyone(service: Service, **fields: Any) -> list[User]:  # noqa: ANN401  # as above
    """Return the users of all pages."""
    return [each for found in await pages(service, **fields) for each in found]


async def names(service: Service, text: str, order: str = "username") -> list[str]:
    """Return the usernames that a filter finds, up to their first dash, in order."""
    found = await everyone(service, filter=text, order_by=order)
    return [each.username.partition("-")[0] for each in found]


async def count(service: Service, text: str = "") -> int:
    """Return how many users a filter matches."""
    return (await service.admin.CountUsers(pb.CountUsersRequest(filter=text))).count


# Indexes


async def create_index(service: Service, path: str, **fields: Any) -> MetadataIndex:  # noqa: ANN401  # as above
    """Begin to build an index."""
    request = pb.CreateMetadataIndexRequest(path=path, **fields)
    return (await service.admin.CreateMetadataIndex(request)).metadata_index


async def states(service: Service) -> Mapping[str, "MetadataIndex.State.ValueType"]:
    """Return the state of every index, by path."""
    listed = await service.admin.ListMetadataIndexes(pb.ListMetadataIndexesRequest())
    return {each.path: each.state for each in listed.metadata_indexes}


async def built(service: Service, *paths: str) -> None:
    """Wait until indexes are ready."""

    async def ready() -> bool:
        return {(await states(service)).get(path) for path in paths} == {READY}

    await until(ready)


def kept_entries(database: Path, query: str = "SELECT index_id, part, key, user_id FROM index_entries") -> set[Any]:
    """Return the entries that the database has."""
    return set(_rows(database, query))


def due_entries(database: Path) -> set[Any]:
    """Return the entries that it should have, by what its users are."""
    users = [user_from_row(row) for row in _rows(database, f"SELECT {USER_COLUMNS} FROM users")]  # noqa: S608  # names
    paths = {_path(text): number for number, text in _rows(database, "SELECT id, path FROM metadata_indexes")}
    return {entry for each in users for entry in entry_rows(each, paths)}


def _path(stored: str) -> Any:  # noqa: ANN401  # a path
    return parse_index_path(".".join(stored.strip("[]").replace('"', "").split(",")))


def _rows(database: Path, query: str) -> Iterable[Any]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
