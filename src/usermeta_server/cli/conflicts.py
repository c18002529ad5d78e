"""`usermeta users conflicts`: whom their username or address does not find, after a change of how they compare."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
import grpc

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta_server.cli.connection import backend, connection_options
from usermeta_server.cli.records import find
from usermeta_server.cli.tables import Table
from usermeta_server.store.predicates import FOLDS

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs

_COLUMNS: Final = ("ID", "FIELD", "VALUE", "OWNER")
_NOBODY: Final = "nobody"
_LOST: Final = " OR ".join(f'NOT {kind} = "*"' for kind in FOLDS)
"""A filter: who has a text that does not find them, for nothing compares with such a text, not even a star."""


@click.command("conflicts")
@connection_options
def list_conflicts(**flags: str | None) -> None:
    """Print whose username or email address does not find them, and whom it finds: another user, or nobody.

    Two that a newer usermeta takes for the same (they differ in what cannot be seen, or in case beyond ASCII) stay
    with the user who was made first. The others keep theirs as it is written, and are found by id only, until they
    get another one, or the same anew after the owner has given it up.
    """

    async def run() -> None:
        async with backend(flags) as stub:
            rows = [row async for row in _conflicts(stub)]
        for line in Table(_COLUMNS).lines(rows):
            click.echo(line)

    asyncio.run(run())


async def _conflicts(stub: "BackendServiceAsyncStub") -> AsyncIterator[Sequence[str]]:
    """Yield the rows of the table.

    Users are looked through a page at a time, so that no search among very many takes longer than it may.
    """
    everyone = pb.ListUsersRequest()
    everyone.read_mask.paths.append("id")
    async for page in find(stub, everyone):
        if not page:
            continue
        lost = pb.ListUsersRequest(filter=f'id >= "{page[0].id}" AND id <= "{page[-1].id}" AND ({_LOST})')
        lost.read_mask.paths.extend(["id", *FOLDS])
        async for users in find(stub, lost):
            for user in users:
                for kind in FOLDS:
                    text = getattr(user, kind)
                    if text and (owner := await _owner(stub, kind, text)) != user.id:
                        yield user.id, kind, text, owner


async def _owner(stub: "BackendServiceAsyncStub", kind: str, text: str) -> str:
    """Return the id of the user that a text finds, or that it finds nobody."""
    identifier: dict[str, Any] = {kind: text}
    try:
        return (await stub.GetUser(pb.GetUserRequest(**identifier))).user.id
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return _NOBODY
        raise
