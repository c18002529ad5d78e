"""`usermeta users conflicts`: whose username or address belongs to another user, after a change of how they compare."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import grpc

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta_server.cli.connection import backend, connection_options
from usermeta_server.cli.records import find
from usermeta_server.cli.tables import Table
from usermeta_server.store.query import FOLDS

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs

_COLUMNS: Final = ("ID", "FIELD", "VALUE", "OWNER")


class _Text(NamedTuple):
    """A username or an address of a user; `digest`, 8 bytes, is the same for all that compare equal."""

    user_id: str
    field: str
    value: str
    digest: int


@click.command("conflicts")
@connection_options
def list_conflicts(**flags: str | None) -> None:
    """Print whose username or email address belongs to another user, and to whom.

    Two that a newer usermeta takes for the same (they differ in what cannot be seen, or in case beyond ASCII) stay
    with the user who was made first. The others keep theirs as it is written, and are found by id only, until they
    get another one, or are updated after the owner has given it up.
    """

    async def run() -> None:
        async with backend(flags) as stub:
            rows = [row async for row in _conflicts(stub)]
        for line in Table(_COLUMNS).lines(rows):
            click.echo(line)

    asyncio.run(run())


async def _conflicts(stub: "BackendServiceAsyncStub") -> AsyncIterator[Sequence[str]]:
    """Yield the rows of the table."""
    doubled = await _doubled(stub)
    async for text in _texts(stub):
        if text.digest in doubled and (owner := await _owner(stub, text)) not in ("", text.user_id):
            yield text.user_id, text.field, text.value, owner


async def _doubled(stub: "BackendServiceAsyncStub") -> set[int]:
    """Return the digests that more than one user has: all that is kept of a user while looking is a number."""
    seen: set[int] = set()
    doubled: set[int] = set()
    async for text in _texts(stub):
        (doubled if text.digest in seen else seen).add(text.digest)
    return doubled


async def _texts(stub: "BackendServiceAsyncStub") -> AsyncIterator[_Text]:
    request = pb.ListUsersRequest()
    request.read_mask.paths.extend(["id", *FOLDS])
    async for page in find(stub, request):
        for user in page:
            for text in _texts_of(user):
                yield text


def _texts_of(user: User) -> Iterator[_Text]:
    for kind, fold in FOLDS.items():
        if value := getattr(user, kind):
            digest = blake2b(f"{kind}:{fold(value)}".encode(), digest_size=8).digest()
            yield _Text(user.id, kind.value, value, int.from_bytes(digest))


async def _owner(stub: "BackendServiceAsyncStub", text: _Text) -> str:
    """Return the id of the user that a text finds; empty if there is none."""
    identifier: dict[str, Any] = {text.field: text.value}
    try:
        return (await stub.GetUser(pb.GetUserRequest(**identifier))).user.id
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return ""
        raise
