"""`usermeta keys` and `usermeta token`."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import click
from google.protobuf.timestamp_pb2 import Timestamp

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.secret_key_pb2 import Scope as ScopeMessage
from usermeta.backend.v1.secret_key_pb2 import SecretKey
from usermeta_server.cli.connection import backend, connection_options
from usermeta_server.cli.tables import printable
from usermeta_server.model import Scope

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs


@click.group()
def keys() -> None:
    """Secret keys, with which backends call."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice([scope.name.lower() for scope in Scope]),
    help="What the key may do: read, write (the default), admin (the default where no admin key works).",
)
@connection_options
def create_key(name: str, scope: str | None, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Make a key called NAME, and print its secret and nothing else; a store that is not there is made."""

    async def run() -> str:
        async with backend(flags, make_store=True) as stub:
            chosen = Scope[scope.upper()] if scope else await _default_scope(stub)
            request = pb.CreateSecretKeyRequest(display_name=name, scopes=[ScopeMessage.Value(f"SCOPE_{chosen.name}")])
            return (await stub.CreateSecretKey(request)).secret

    click.echo(asyncio.run(run()))


async def _default_scope(stub: "BackendServiceAsyncStub") -> Scope:
    """Return what a new key may do by default: everything where no key can make another one, else write."""
    async for key in _all_keys(stub):
        expired = key.HasField("expire_time") and key.expire_time.seconds <= time.time()
        if ScopeMessage.SCOPE_ADMIN in key.scopes and not key.HasField("revoke_time") and not expired:
            return Scope.WRITE
    return Scope.ADMIN


async def _all_keys(stub: "BackendServiceAsyncStub") -> AsyncIterator[SecretKey]:
    request = pb.ListSecretKeysRequest(page_size=1000)
    while True:
        page = await stub.ListSecretKeys(request)
        for key in page.secret_keys:
            yield key
        request.page_token = page.next_page_token
        if not request.page_token:
            return


@keys.command("list")
@connection_options
def list_keys(**flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Print the keys, oldest first."""

    async def run() -> None:
        async with backend(flags) as stub:
            async for key in _all_keys(stub):
                click.echo(_line(key))

    asyncio.run(run())


def _line(key: SecretKey) -> str:
    scopes = ",".join(ScopeMessage.Name(scope).removeprefix("SCOPE_").lower() for scope in key.scopes)
    created, expires, revoked = map(_time, (key.create_time, key.expire_time, key.revoke_time))
    name = printable(key.display_name)
    return f"{key.id}  {scopes:<6} created {created} expires {expires} revoked {revoked}  {name}"


def _time(value: Timestamp) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(value.seconds)) if value.seconds else "-"


@keys.command("revoke")
@click.argument("key_id")
@connection_options
def revoke_key(key_id: str, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Revoke the key KEY_ID (key_…): from then on it is refused."""

    async def run() -> None:
        async with backend(flags) as stub:
            await stub.RevokeSecretKey(pb.RevokeSecretKeyRequest(secret_key_id=key_id))

    asyncio.run(run())


@click.command()
@click.argument("user_id")
@connection_options
def token(user_id: str, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Print a session token of the user USER_ID, good for an hour."""

    async def run() -> str:
        async with backend(flags) as stub:
            return (await stub.CreateSessionToken(pb.CreateSessionTokenRequest(user_id=user_id))).session_token

    click.echo(asyncio.run(run()))
