"""Write what a store of a schema looks like, with data in every table, as SQL: `make schema-dump`.

Each schema has such a dump in tests/store/schemas, made when it was the newest; the tests bring each one up to date
and compare. The data is written through the service's own methods. For an older schema (give its number) what the
newest one keeps is copied into the tables of that one.
"""

import argparse
import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc
from google.protobuf.json_format import ParseDict

from usermeta.backend.v1 import backend_service_pb2 as backend_pb
from usermeta.backend.v1 import backend_service_pb2_grpc
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1 import frontend_service_pb2_grpc
from usermeta_server.caller import Principal, PrincipalKind
from usermeta_server.core.writes import Intent
from usermeta_server.model import Actor, Scope
from usermeta_server.server import start_server
from usermeta_server.settings import ServerSettings
from usermeta_server.store.sqlite.migrate import migrations

if TYPE_CHECKING:  # these names are only in the stubs
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub
    from usermeta.frontend.v1.frontend_service_pb2_grpc import FrontendServiceAsyncStub

FOLDER: Final = Path(__file__).parent.parent / "tests" / "store" / "schemas"
HEADING: Final = "-- A store of schema {schema}, by scripts/dump_schema.py. Its keys were made for it and open nothing."
OPERATOR: Final = Principal(PrincipalKind.SECRET_KEY, "operator", Scope.ADMIN)

USERS: Final = (
    {
        "username": "ada",
        "email_address": "ada@example.com",
        "email_address_verified": True,
        "external_id": "crm-1815",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "image_url": "https://example.com/ada.png",
        "public_metadata": {"plan": "pro", "tags": ["a", "b", 1, None], "deep": {"er": {"still": True}}},
        "private_metadata": {"credits": 10, "ratio": 0.1, "limit": 9007199254740991},
        "unsafe_metadata": {"theme": "dark", "text": "Größe 雪 \U0001f600 \"quoted\" 'too'"},
    },
    {"username": "Ünal", "email_address": "uenal@example.com", "public_metadata": {"plan": "free"}, "banned": True},
    {"first_name": "without an identifier"},
    {"username": "gone", "external_id": "crm-gone", "private_metadata": {"secret": "of one who was erased"}},
)
"""Users as they are made; the last one is deleted."""


class Stubs(NamedTuple):
    """A server that runs on a temporary store, as a backend with an admin key and a visitor without a credential."""

    backend: "BackendServiceAsyncStub"
    admin: tuple[tuple[str, str], ...]
    frontend: "FrontendServiceAsyncStub"


@asynccontextmanager
async def server(database: Path) -> AsyncIterator[Stubs]:
    """Run a server in this process."""
    settings = ServerSettings(database_url=database, listen="127.0.0.1:0", access_log="off")
    async with start_server(settings) as running:
        keys = running.app.use_cases.secret_keys
        made = await keys.create(OPERATOR, "dump", (Scope.ADMIN,), 0, Intent(Actor("operator", "dump"), "dump"))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
            backend = backend_service_pb2_grpc.BackendServiceStub(channel)
            frontend = frontend_service_pb2_grpc.FrontendServiceStub(channel)
            yield Stubs(backend, (("authorization", f"Bearer {made.secret}"),), frontend)
            while await running.app.store.build_indexes():
                pass


async def fill(stubs: Stubs) -> None:
    """Write something of every kind."""
    backend, admin = stubs.backend, stubs.admin
    await backend.CreateMetadataIndex(
        backend_pb.CreateMetadataIndexRequest(path="public_metadata.plan"), metadata=admin
    )
    ids = []
    for fields in USERS:
        create = ParseDict({"user": fields, "request_id": str(uuid.uuid4())}, backend_pb.CreateUserRequest())
        ids.append((await backend.CreateUser(create, metadata=admin)).user.id)
    change = {"user_id": ids[0], "request_id": str(uuid.uuid4()), "private_metadata": {"credits": 11}}
    merge = ParseDict(change, backend_pb.MergeUserMetadataRequest())
    await backend.MergeUserMetadata(merge, metadata=admin)
    await backend.DeleteUser(backend_pb.DeleteUserRequest(user_id=ids[-1]), metadata=admin)
    for name in ("kept", "revoked"):
        create_key = ParseDict({"display_name": name, "scopes": ["SCOPE_READ"]}, backend_pb.CreateSecretKeyRequest())
        key = (await backend.CreateSecretKey(create_key, metadata=admin)).secret_key
        if name == "revoked":
            await backend.RevokeSecretKey(backend_pb.RevokeSecretKeyRequest(secret_key_id=key.id), metadata=admin)
    for name in ("open", "rejected", "complete"):
        await sign_up(stubs, name)


async def sign_up(stubs: Stubs, name: str) -> None:
    """Make a sign-up that ends as its name says."""
    fields = {"username": f"{name}.sign-up", "email_address": f"{name}@example.com", "unsafe_metadata": {"from": name}}
    created = await stubs.frontend.CreateSignUp(ParseDict({"sign_up": fields}, frontend_pb.CreateSignUpRequest()))
    if name == "rejected":
        request = backend_pb.RejectSignUpRequest(sign_up_id=created.sign_up.id)
        await stubs.backend.RejectSignUp(request, metadata=stubs.admin)
    elif name == "complete":
        holder = (("authorization", f"Bearer {created.sign_up_token}"),)
        await stubs.frontend.CompleteSignUp(frontend_pb.CompleteSignUpRequest(), metadata=holder)


async def make_store(database: Path) -> None:
    """Make a store of the newest schema."""
    async with server(database) as stubs:
        await fill(stubs)


def dump(database: Path, schema: int) -> str:
    """Return a store as SQL that makes it, with the tables of a schema, and what they have in common with its own."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for step in migrations()[:schema]:
            connection.executescript(step.sql)
        for table in tables(connection, "main"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608  # our tables
        connection.execute("ATTACH ? AS newest", (str(database),))
        for table in tables(connection, "newest"):
            shared = [
                name for name in columns(connection, "main", table) if name in columns(connection, "newest", table)
            ]
            if shared:
                names = ", ".join(shared)
                copy = f"INSERT OR REPLACE INTO main.{table} ({names}) SELECT {names} FROM newest.{table}"  # noqa: S608  # our tables
                connection.execute(copy)
        connection.execute("DETACH newest")
        heading = HEADING.format(schema=schema)
        return "\n".join([heading, *connection.iterdump(), f"PRAGMA user_version = {schema};", ""])


def tables(connection: sqlite3.Connection, database: str) -> list[str]:
    """Return the names of a database's tables."""
    listed = connection.execute("PRAGMA table_list")
    return [row[1] for row in listed if row[0] == database and not row[1].startswith("sqlite_")]


def columns(connection: sqlite3.Connection, database: str, table: str) -> list[str]:
    """Return the names of a table's columns; none if there is no such table."""
    return [row[1] for row in connection.execute(f"PRAGMA {database}.table_info({table})")]


def main() -> None:
    """Write a dump."""
    newest = migrations()[-1].number
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("schema", type=int, nargs="?", default=newest, choices=range(1, newest + 1))
    schema = parser.parse_args().schema
    with TemporaryDirectory() as folder:
        database = Path(folder) / "usermeta.db"
        asyncio.run(make_store(database))
        file = FOLDER / f"{schema:04}.sql"
        file.parent.mkdir(exist_ok=True)
        file.write_text(dump(database, schema))
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
