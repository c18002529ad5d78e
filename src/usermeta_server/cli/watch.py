"""`usermeta watch`."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from usermeta.backend.v1.backend_service_pb2 import WatchUsersRequest
from usermeta_server.cli.connection import backend, connection_options
from usermeta_server.cli.follow import TokenFile, as_json, follow


@click.command()
@click.option("--filter", "filter_text", default="", metavar="FILTER", help="Only users that this filter matches.")
@click.option("--snapshot", is_flag=True, help="Print the users as they are first; not when going on.")
@click.option(
    "--resume",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that keeps the place: go on from it, and keep it up to date.",
)
@connection_options
def watch(*, filter_text: str, snapshot: bool, resume: Path | None, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Print what is written to users, one line of JSON for each event, until interrupted.

    A line is a WatchUsersEvent in ProtoJSON. With --resume no event is missed between two runs; the last ones of a run
    may come again.
    """
    kept = TokenFile(resume)
    token = kept.read()
    request = WatchUsersRequest(resume_token=token, filter=filter_text, include_snapshot=snapshot and not token)

    async def run() -> None:
        async with backend(flags) as stub:
            async for response in follow(stub, request):
                if response.events:
                    # In ASCII: it fits every terminal, and no value can command one.
                    click.echo("\n".join(json.dumps(as_json(event)) for event in response.events))
                kept.write(response.resume_token)

    asyncio.run(run())
