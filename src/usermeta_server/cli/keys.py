"""`usermeta keys` and `usermeta token`: on the store itself while no server owns it, otherwise through the server."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import click

from usermeta.backend.v1 import backend_service_pb2, secret_key_pb2
from usermeta_server.app import App, open_app
from usermeta_server.cli.client import backend
from usermeta_server.cli.options import given, settings_options
from usermeta_server.cli.serve import OPERATOR, OPERATOR_ACTOR
from usermeta_server.core.writes import Intent
from usermeta_server.model import HOUR, SECOND, Scope
from usermeta_server.settings import ClientSettings, ServerSettings
from usermeta_server.store.sqlite.ownership import DatabaseOwnedError

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs


class KeyLine(NamedTuple):
    """What `keys list` shows of a key; times in seconds since the epoch, 0 for none."""

    id: str
    display_name: str
    scopes: str
    create_time: int
    expire_time: int
    revoke_time: int


class Admin(Protocol):
    """What the commands do, on a store or through a server."""

    async def create_key(self, name: str, scope: Scope | None) -> str:
        """Make a key and return its secret."""
        ...

    async def list_keys(self) -> list[KeyLine]:
        """Return all keys."""
        ...

    async def revoke_key(self, key_id: str) -> None:
        """Revoke a key."""
        ...

    async def create_token(self, user_id: str) -> str:
        """Return a session token."""
        ...


class _Local:
    """Works on the store itself."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._intent = Intent(OPERATOR_ACTOR, "keys")

    async def create_key(self, name: str, scope: Scope | None) -> str:
        """See `Admin`."""
        scope = scope or self._app.use_cases.secret_keys.default_scope()
        return (await self._app.use_cases.secret_keys.create(OPERATOR, name, (scope,), 0, self._intent)).secret

    async def list_keys(self) -> list[KeyLine]:
        """See `Admin`."""
        keys = await self._app.use_cases.secret_keys.list("", 1_000_000)
        return [
            KeyLine(key.id, key.display_name, _scopes(each.name for each in key.scopes), *_seconds(key[4:]))
            for key in keys
        ]

    async def revoke_key(self, key_id: str) -> None:
        """See `Admin`."""
        await self._app.use_cases.secret_keys.revoke(key_id, self._intent)

    async def create_token(self, user_id: str) -> str:
        """See `Admin`."""
        return (await self._app.use_cases.sessions.create(user_id, HOUR, self._intent)).token


class _Remote:
    """Works through a running server."""

    def __init__(self, stub: "BackendServiceAsyncStub") -> None:
        self._stub = stub

    async def create_key(self, name: str, scope: Scope | None) -> str:
        """See `Admin`."""
        value = secret_key_pb2.Scope.Value(f"SCOPE_{(scope or Scope.WRITE).name}")
        request = backend_service_pb2.CreateSecretKeyRequest(display_name=name, scopes=[value])
        return (await self._stub.CreateSecretKey(request)).secret

    async def list_keys(self) -> list[KeyLine]:
        """See `Admin`."""
        lines: list[KeyLine] = []
        token = ""
        while True:
            request = backend_service_pb2.ListSecretKeysRequest(page_size=1000, page_token=token)
            page = await self._stub.ListSecretKeys(request)
            lines.extend(map(_line, page.secret_keys))
            token = page.next_page_token
            if not token:
                return lines

    async def revoke_key(self, key_id: str) -> None:
        """See `Admin`."""
        await self._stub.RevokeSecretKey(backend_service_pb2.RevokeSecretKeyRequest(secret_key_id=key_id))

    async def create_token(self, user_id: str) -> str:
        """See `Admin`."""
        request = backend_service_pb2.CreateSessionTokenRequest(user_id=user_id)
        return (await self._stub.CreateSessionToken(request)).session_token


def _line(key: secret_key_pb2.SecretKey) -> KeyLine:
    scopes = _scopes(secret_key_pb2.Scope.Name(scope).removeprefix("SCOPE_") for scope in key.scopes)
    times = (key.create_time.seconds, key.expire_time.seconds, key.revoke_time.seconds)
    return KeyLine(key.id, key.display_name, scopes, *times)


def _scopes(names: Iterable[str]) -> str:
    return ",".join(name.lower() for name in names)


def _seconds(times: Iterable[int]) -> Iterable[int]:
    return (each // SECOND for each in times)


@asynccontextmanager
async def _admin(flags: dict[str, Any]) -> AsyncIterator[Admin]:
    try:
        async with open_app(given(ServerSettings, flags)) as app:
            yield _Local(app)
            return
    except DatabaseOwnedError:
        pass
    async with backend(given(ClientSettings, flags)) as stub:
        yield _Remote(stub)


_options = settings_options(ServerSettings, "database_url")
_client_options = settings_options(ClientSettings)


@click.group()
def keys() -> None:
    """Secret keys, with which backends call.

    On the store itself while no server owns it, otherwise through the running server, with USERMETA_KEY.
    """


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice([scope.name.lower() for scope in Scope]),
    help="What the key may do: read, write (the default), admin (the default where no admin key works).",
)
@_options
@_client_options
def create_key(name: str, scope: str | None, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Make a key called NAME, and print its secret and nothing else."""

    async def run() -> str:
        async with _admin(flags) as admin:
            return await admin.create_key(name, Scope[scope.upper()] if scope else None)

    click.echo(asyncio.run(run()))


@keys.command("list")
@_options
@_client_options
def list_keys(**flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Print the keys, oldest first."""

    async def run() -> list[KeyLine]:
        async with _admin(flags) as admin:
            return await admin.list_keys()

    for line in asyncio.run(run()):
        created, expires, revoked = (
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(each)) if each else "-" for each in line[3:]
        )
        click.echo(f"{line.id}  {line.scopes:<6} created {created} expires {expires} revoked {revoked}  {line[1]}")


@keys.command("revoke")
@click.argument("key_id")
@_options
@_client_options
def revoke_key(key_id: str, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Revoke the key KEY_ID (key_…): from then on it is refused."""

    async def run() -> None:
        async with _admin(flags) as admin:
            await admin.revoke_key(key_id)

    asyncio.run(run())


@click.command()
@click.argument("user_id")
@_options
@_client_options
def token(user_id: str, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Print a session token of the user USER_ID, good for an hour."""

    async def run() -> str:
        async with _admin(flags) as admin:
            return await admin.create_token(user_id)

    click.echo(asyncio.run(run()))
