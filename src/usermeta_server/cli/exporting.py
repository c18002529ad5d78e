"""`usermeta users export`: users as lines of JSON, in constant memory."""

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta_server.cli.connection import backend, connection_options
from usermeta_server.cli.files import file_errors, private, progress
from usermeta_server.cli.records import find, from_line, to_line
from usermeta_server.errors import OperatorError


@click.command("export")
@click.argument("file")
@click.option("--resume", is_flag=True, help="Go on where an export to FILE was cut off.")
@connection_options
def export_users(file: str, *, resume: bool, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Write all users to FILE, a line of JSON each, in the order of their ids; `-` is standard output.

    They are written to FILE.partial, which becomes FILE when it is complete. A user that does not change meanwhile
    is there exactly once; others are as they are when their page is read. FILE holds private documents, and only its
    owner can read it.
    """
    if file == "-" and resume:
        raise click.UsageError("standard output cannot be resumed")
    with file_errors(file), _output(file, resume=resume) as (out, last_id):
        count = asyncio.run(_export(flags, out, last_id))
    click.echo(f"exported {count} users", err=True)


@contextmanager
def _output(name: str, *, resume: bool) -> Iterator[tuple[IO[bytes], str]]:
    """Open what an export is written to, and say which user is the last that it has, if any."""
    if name == "-":
        yield sys.stdout.buffer, ""
        return
    partial = Path(f"{name}.partial")
    with open(partial, "r+b" if resume and partial.exists() else "w+b", opener=private) as out:
        yield out, _cut_off(out)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(name)


def _cut_off(out: IO[bytes]) -> str:
    """Cut off a line that is not complete, and return the id in the last one that is; empty if there is none.

    Raises:
        OperatorError: the file is no export.
    """
    last, size = b"", 0
    for line in out:
        if line.endswith(b"\n"):
            last, size = line, size + len(line)
    out.seek(size)
    out.truncate()
    try:
        return from_line(last).id if last else ""
    except ValueError as error:
        raise OperatorError(f"{out.name} is no export: its last line {error}") from error


async def _export(flags: Mapping[str, str | None], out: IO[bytes], last_id: str) -> int:
    """Write the users whose id is greater than `last_id`, and return how many there were."""
    which = f'id > "{last_id}"' if last_id else ""
    count = 0
    async with backend(flags) as stub:
        shown = sys.stderr.isatty() and not out.isatty()
        total = (await stub.CountUsers(pb.CountUsersRequest(filter=which))).count if shown else 0
        with progress(total, "exporting", shown=shown) as bar:
            async for page in find(stub, pb.ListUsersRequest(filter=which)):
                out.writelines(map(to_line, page))
                out.flush()
                count += len(page)
                bar.update(len(page))
    return count
