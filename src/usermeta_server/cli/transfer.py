"""`usermeta users export` and `usermeta users import`: users as lines of JSON, in constant memory."""

import asyncio
import os
import stat
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Self

import click
import grpc
import orjson

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta_server.cli.client import backend
from usermeta_server.cli.options import given, settings_options
from usermeta_server.cli.records import find, from_line, to_line, to_record, writable
from usermeta_server.core.documents import dump
from usermeta_server.errors import OperatorError
from usermeta_server.settings import ClientSettings

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs

IN_FLIGHT: Final = 64
"""How many users are on their way to the server at once."""

_REQUEST_IDS: Final = uuid.UUID("0b1f7e7c-6f5e-4c3e-9a0e-5a1f6f1d8c52")
"""The namespace (RFC 9562, version 5) of the request ids that follow from lines."""

_OF_ONE_LINE: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
    }
)
"""What fails one line; anything else would fail the others too, and ends the import."""

_options = settings_options(ClientSettings)


def _private(path: str, flags: int) -> int:
    """Open a file that only its owner can read: private documents go into it."""
    return os.open(path, flags, 0o600)


@contextmanager
def _file_errors(name: str) -> Iterator[None]:
    """Let what goes wrong with a file be one line; a reader that went away is click's business."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OperatorError(f"{error.filename or name}: {error.strerror}") from error


def _progress(length: int, label: str, *, shown: bool) -> Any:  # noqa: ANN401  # a context manager that click makes
    return click.progressbar(length=length, label=label, file=sys.stderr, hidden=not shown)


# Export


@click.command("export")
@click.argument("file")
@click.option("--resume", is_flag=True, help="Go on where an export to FILE was cut off.")
@_options
def export_users(file: str, *, resume: bool, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Write all users to FILE, a line of JSON each, in the order of their ids; `-` is standard output.

    They are written to FILE.partial, which becomes FILE when it is complete. A user that does not change meanwhile
    is there exactly once; others are as they are when their page is read. FILE holds private documents, and only its
    owner can read it.
    """
    if file == "-" and resume:
        raise click.UsageError("standard output cannot be resumed")
    settings = given(ClientSettings, flags)
    with _file_errors(file), _output(file, resume=resume) as (out, last_id):
        count = asyncio.run(_export(settings, out, last_id))
    click.echo(f"exported {count} users", err=True)


@contextmanager
def _output(name: str, *, resume: bool) -> Iterator[tuple[IO[bytes], str]]:
    """Open what an export is written to, and say which user is the last that it has, if any."""
    if name == "-":
        yield sys.stdout.buffer, ""
        return
    partial = Path(f"{name}.partial")
    with open(partial, "r+b" if resume and partial.exists() else "w+b", opener=_private) as out:
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


async def _export(settings: ClientSettings, out: IO[bytes], last_id: str) -> int:
    """Write the users whose id is greater than `last_id`, and return how many there were."""
    which = f'id > "{last_id}"' if last_id else ""
    count = 0
    async with backend(settings) as stub:
        shown = sys.stderr.isatty() and not out.isatty()
        total = (await stub.CountUsers(pb.CountUsersRequest(filter=which))).count if shown else 0
        with _progress(total, "exporting", shown=shown) as bar:
            async for page in find(stub, pb.ListUsersRequest(filter=which)):
                out.writelines(map(to_line, page))
                out.flush()
                count += len(page)
                bar.update(len(page))
    return count


# Import


@click.command("import")
@click.argument("file", type=click.File("rb"))
@_options
def import_users(file: IO[bytes], **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Make the users of FILE, a line of JSON each, as an export has them; `-` is standard input.

    Ids are kept, and made where a line has none. Etags and times cannot be restored: they are made anew. A user who
    is there already, just as the line says, is done, so an import that was cut off is simply run again: it loses and
    doubles no one (users without an id: within 24 hours). Lines that fail are told of in FILE.errors, by their number,
    and the exit code is then not 0.
    """
    settings = given(ClientSettings, flags)
    path = "" if file.name == "<stdin>" else f"{file.name}.errors"
    with _file_errors(file.name), _Errors(path) as errors:
        job = _Import(file, errors)
        asyncio.run(job.run(settings))
    click.echo(f"imported {job.done} users", err=True)
    if errors.count:
        where = f": see {errors.path}" if errors.path else ""
        raise click.ClickException(f"{errors.count} lines failed{where}")


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
        return self._stack.enter_context(open(self.path, "wb", opener=_private))


class _Import:
    """One import: its lines go to the server side by side, each on its own."""

    def __init__(self, file: IO[bytes], errors: _Errors) -> None:
        """Import a file."""
        self.done = 0
        self._file = file
        self._errors = errors

    async def run(self, settings: ClientSettings) -> None:
        """Import all lines."""
        async with backend(settings) as stub:
            status = os.fstat(self._file.fileno())
            shown = sys.stderr.isatty() and stat.S_ISREG(status.st_mode)
            with _progress(status.st_size, "importing", shown=shown) as bar:
                lines = enumerate(self._file, 1)
                await asyncio.gather(*(self._work(stub, lines, bar) for _ in range(IN_FLIGHT)))

    async def _work(self, stub: "BackendServiceAsyncStub", lines: Iterator[tuple[int, bytes]], bar: Any) -> None:  # noqa: ANN401  # click's
        """Import the next line, and the next, as long as there is one; each goes to one worker."""
        for number, line in lines:
            if line.strip():
                await self._import(stub, number, line.strip())
            bar.update(len(line))

    async def _import(self, stub: "BackendServiceAsyncStub", number: int, line: bytes) -> None:
        try:
            request = _request(line)
        except ValueError as error:
            self._errors.add(number, grpc.StatusCode.INVALID_ARGUMENT.name, str(error))
            return
        try:
            await _create(stub, request)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _OF_ONE_LINE:
                raise
            self._errors.add(number, error.code().name, error.details() or "")
        else:
            self.done += 1


def _request(line: bytes) -> pb.CreateUserRequest:
    """Return the request that makes the user of a line: the same line always makes the same request.

    Raises:
        ValueError: the line is no user.
    """
    user = from_line(line)
    request_id = str(uuid.uuid5(_REQUEST_IDS, line.decode()))
    return pb.CreateUserRequest(user=writable(user), user_id=user.id, request_id=request_id)


async def _create(stub: "BackendServiceAsyncStub", request: pb.CreateUserRequest) -> None:
    """Make a user who is not there yet.

    Raises:
        AioRpcError: the server refuses.
    """
    try:
        await stub.CreateUser(request)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.ALREADY_EXISTS or not await _is_there(stub, request):
            raise


async def _is_there(stub: "BackendServiceAsyncStub", request: pb.CreateUserRequest) -> bool:
    """Tell whether a user has the id and is as the request has it."""
    if not request.user_id:
        return False
    try:
        found = (await stub.GetUser(pb.GetUserRequest(user_id=request.user_id))).user
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return False
        raise
    sought = writable(request.user)
    for document in (sought.public_metadata, sought.private_metadata, sought.unsafe_metadata):
        document.SetInParent()  # one that is not given is empty
    return dump(to_record(writable(found))) == dump(to_record(sought))
