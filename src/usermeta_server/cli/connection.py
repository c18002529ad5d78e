"""Where a command works: on the server that it is told, or else on the store, while no server owns that."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click
import grpc

from usermeta_server.cli.client import remote
from usermeta_server.cli.local import local
from usermeta_server.cli.options import given, is_given, settings_options
from usermeta_server.cli.rpc_errors import CallError
from usermeta_server.settings import ClientSettings, ServerSettings

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs

F = TypeVar("F", bound=Callable[..., Any])


def connection_options(function: F) -> F:
    """Add the options that say where a command works."""
    return settings_options(ClientSettings)(settings_options(ServerSettings, "database_url")(function))


@asynccontextmanager
async def backend(
    flags: Mapping[str, str | None], *, make_store: bool = False
) -> AsyncIterator["BackendServiceAsyncStub"]:
    """Connect to BackendService as flags and environment say, and say on standard error to what.

    With an address or a key it is that server, always; without either it is the store, which is made only with
    `make_store`.

    Raises:
        OperatorError: a setting is wrong, the server or the store is not there, or a call failed (CallError).
    """
    if is_given(flags, "address", "key"):
        server = given(ClientSettings, flags)
        where, what, opening = server.address, f"the server {server.address}", remote(server)
    else:
        store = given(ServerSettings, flags)
        where, what = str(store.database_url), f"the database {store.database_url}"
        opening = local(store, make_store=make_store)
    async with opening as stub:
        click.echo(f"usermeta: using {what}", err=True)
        try:
            yield stub
        except grpc.aio.AioRpcError as error:
            raise CallError(where, error) from error
