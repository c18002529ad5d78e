"""`usermeta users import`: users from lines of JSON, side by side, in constant memory."""

import asyncio
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self
from weakref import WeakValueDictionary

import click
import grpc
import orjson

from usermeta_server.cli.connection import backend, connection_options
from usermeta_server.cli.files import file_errors, private, progress
from usermeta_server.cli.reconcile import ConflictError, Outcome, Reconciler, read_line
from usermeta_server.cli.rpc_errors import text_of
from usermeta_server.cli.strict_json import BOM
from usermeta_server.errors import RefusedError

IN_FLIGHT: Final = 64
"""How many users are on their way to the server at once."""

_OF_ONE_LINE: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: Outcome.FAILED,
    grpc.StatusCode.NOT_FOUND: Outcome.FAILED,
    grpc.StatusCode.FAILED_PRECONDITION: Outcome.FAILED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Outcome.FAILED,
    grpc.StatusCode.INTERNAL: Outcome.FAILED,
    grpc.StatusCode.ALREADY_EXISTS: Outcome.CONFLICTING,
}
"""What ends one line, and as what; anything else would end the others too, and ends the import."""


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--update", is_flag=True, help="Let users who are there become as their lines say.")
@connection_options
def import_users(file: IO[bytes], *, update: bool, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Make the users of FILE, a line of JSON each, as an export has them; `-` is standard input.

    A line is a whole user: what it leaves out is unset or empty. It is about the user of its id, else of its
    external_id, username or email_address. One who is not there is created; one who is just as the line says is
    unchanged; one who differs is conflicting, and stays, or with --update becomes as the line says. So an import that
    was cut off is simply run again: it loses and doubles no one. A line without any of these identifiers is known again
    for 24 hours, by its number and text.

    Ids are kept, and made where a line has none. Etags and times cannot be restored: they are made anew. Lines that
    conflict or fail are told of in FILE.errors, by their number, and the exit code is then 4. JSON that could be read
    in more than one way is refused: a key or field that is there twice, a number that cannot be kept.
    """
    path = "" if file.name == "<stdin>" else f"{file.name}.errors"
    with file_errors(file.name), _Errors(path) as errors:
        job = _Import(file, errors, update=update)
        asyncio.run(job.run(flags))
    shown = [outcome for outcome in Outcome if update or outcome is not Outcome.UPDATED]
    counts = ", ".join(f"{job.counts[outcome]} {outcome}" for outcome in shown)
    click.echo(f"imported {file.name}: {counts}", err=True)
    if errors.count:
        where = f": see {errors.path}" if errors.path else ""
        raise RefusedError(f"{errors.count} lines were not imported{where}")


class _Errors:
    """Where the lines that failed are told of: a file, made for the first one, or standard error without a path."""

    def __init__(self, path: str) -> None:
        """Begin anew."""
        self.path = path
        self.count = 0
        self._stack = ExitStack()
        self._out: IO[bytes] | None = None

    def __enter__(self) -> Self:
        if self.path:
            Path(self.path).unlink(missing_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stack.close()

    def add(self, number: int, code: str, message: str) -> None:
        """Tell of a line, by its number from 1 on."""
        self._out = self._out or self._open()
        self._out.write(orjson.dumps({"line": number, "code": code, "message": message}) + b"\n")
        self._out.flush()
        self.count += 1

    def _open(self) -> IO[bytes]:
        if not self.path:
            return sys.stderr.buffer
        return self._stack.enter_context(open(self.path, "wb", opener=private))


class _Import:
    """One import: its lines go to the server side by side; those about one user one after the other."""

    def __init__(self, file: IO[bytes], errors: _Errors, *, update: bool) -> None:
        """Import a file."""
        self.counts: Counter[Outcome] = Counter()
        self._file = file
        self._errors = errors
        self._update = update
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def run(self, flags: Mapping[str, str | None]) -> None:
        """Import all lines."""
        async with backend(flags) as stub:
            status = os.fstat(self._file.fileno())
            shown = sys.stderr.isatty() and stat.S_ISREG(status.st_mode)
            reconciler = Reconciler(stub, update=self._update)
            with progress(status.st_size, "importing", shown=shown) as bar:
                lines = enumerate(self._file, 1)
                await asyncio.gather(*(self._work(reconciler, lines, bar) for _ in range(IN_FLIGHT)))

    async def _work(self, reconciler: Reconciler, lines: Iterator[tuple[int, bytes]], bar: Any) -> None:  # noqa: ANN401  # click's
        """Import the next line, and the next, as long as there is one; each goes to one worker."""
        for number, line in lines:
            text = line.removeprefix(BOM).strip()
            if text:
                self.counts[await self._import(reconciler, number, text)] += 1
            bar.update(len(line))

    async def _import(self, reconciler: Reconciler, number: int, text: bytes) -> Outcome:
        try:
            line = read_line(number, text)
            # Locks are fair: of two lines about one user the first is first.
            async with self._locks.setdefault((line.kind, line.value or line.request_id), asyncio.Lock()):
                return await reconciler.reconcile(line)
        except ValueError as error:
            self._errors.add(number, grpc.StatusCode.INVALID_ARGUMENT.name, str(error))
            return Outcome.FAILED
        except ConflictError as error:
            self._errors.add(number, grpc.StatusCode.ALREADY_EXISTS.name, str(error))
            return Outcome.CONFLICTING
        except grpc.aio.AioRpcError as error:
            if error.code() not in _OF_ONE_LINE:
                raise
            self._errors.add(number, error.code().name, text_of(error))
            return _OF_ONE_LINE[error.code()]
