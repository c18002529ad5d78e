"""`usermeta indexes`: indexes on paths of documents."""

import asyncio
from collections.abc import Sequence
from typing import Any

import click

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.metadata_index_pb2 import MetadataIndex
from usermeta_server.cli.connection import backend, connection_options


@click.group()
def indexes() -> None:
    """Indexes on paths of documents, by which users are found without scanning all.

    A PATH is written as in a filter: public_metadata.plan, private_metadata.address."zip code".
    """


@indexes.command("create")
@click.argument("path")
@connection_options
def create_index(path: str, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Begin to build an index on PATH; one that exists stays as it is.

    A server builds it while it goes on serving; `usermeta indexes list` says when it is ready.
    """

    async def run() -> MetadataIndex:
        async with backend(flags) as stub:
            return (await stub.CreateMetadataIndex(pb.CreateMetadataIndexRequest(path=path))).metadata_index

    click.echo(_line(asyncio.run(run())))


@indexes.command("list")
@connection_options
def list_indexes(**flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Print the indexes, by their paths: building or ready."""

    async def run() -> Sequence[MetadataIndex]:
        async with backend(flags) as stub:
            return (await stub.ListMetadataIndexes(pb.ListMetadataIndexesRequest())).metadata_indexes

    for index in asyncio.run(run()):
        click.echo(_line(index))


@indexes.command("delete")
@click.argument("path")
@connection_options
def delete_index(path: str, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Drop the index on PATH."""

    async def run() -> None:
        async with backend(flags) as stub:
            await stub.DeleteMetadataIndex(pb.DeleteMetadataIndexRequest(path=path))

    asyncio.run(run())


def _line(index: MetadataIndex) -> str:
    state = MetadataIndex.State.Name(index.state).removeprefix("STATE_").lower()
    return f"{state:<8}  {index.path}"
