"""`usermeta serve`."""

import asyncio
import gc
import logging
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import click
import uvloop

from usermeta_server.caller import OPERATOR, OPERATOR_ACTOR
from usermeta_server.cli.options import given, settings_options
from usermeta_server.core.writes import Intent
from usermeta_server.errors import ExitCode, UsermetaError
from usermeta_server.logs import LineWriter, logging_to
from usermeta_server.model import Scope
from usermeta_server.server import Server, start_server
from usermeta_server.settings import ServerSettings

log = logging.getLogger(__name__)

_STDOUT, _STDERR = 1, 2

_GC_THRESHOLDS = (50_000, 20, 100)
"""When to look for garbage: calls make many objects that are gone with them, and hardly any that only that finds."""

_FIRST_CALL = '{"user": {"username": "ada", "public_metadata": {"plan": "pro"}, "private_metadata": {"credits": 10}}}'


@click.command()
@settings_options(ServerSettings)
@click.option("--rotate-session-key", is_flag=True, help="Sign new session tokens with a new key; old ones stay good.")
def serve(*, rotate_session_key: bool, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Run the server until SIGTERM or SIGINT.

    On an empty store it makes a first secret key and prints it once, with a call to paste.
    """
    settings = given(ServerSettings, flags)
    with logging_to(_STDERR) as lines:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(settings, lines, rotate_session_key=rotate_session_key))
        except UsermetaError as error:
            log.error("usermeta has stopped, but not in order; keep all files of the database together: %s", error)  # noqa: TRY400  # no fault of ours
            sys.exit(ExitCode.FAULT)


async def _serve(settings: ServerSettings, lines: LineWriter, *, rotate_session_key: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with start_server(settings, rotate_session_key=rotate_session_key, lines=lines) as server:
        address = f"{settings.listen.rpartition(':')[0]}:{server.port}"
        await _welcome(server, address, tls=settings.tls_cert is not None)
        # What is here by now stays: to look through it for garbage again and again would hold up calls.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        log.info("usermeta uses the database %s", settings.database_url)
        log.info("usermeta listens on %s", address)
        await stop.wait()
        log.info("usermeta is stopping")
    log.info("usermeta has stopped")


async def _welcome(server: Server, address: str, *, tls: bool) -> None:
    """On an empty store make a first key, and print it with a call to paste."""
    if len(server.app.ring):
        return
    keys = server.app.use_cases.secret_keys
    made = await keys.create(OPERATOR, "first key", (Scope.ADMIN,), 0, Intent(OPERATOR_ACTOR, "serve"))
    text = (
        f"Your first secret key (admin), shown only this once:\n\n    {made.secret}\n\n"
        f"Make a user; paste into another terminal:\n\n    {_first_call(address, made.secret, tls=tls)}\n\n"
    )
    lines = LineWriter(_STDOUT)
    lines.write(text.encode())
    if not lines.close():
        log.warning("nobody reads standard output, where the first secret key is; `usermeta keys create` makes others")


def _first_call(address: str, secret: str, *, tls: bool) -> str:
    """Return a call for the client that is here: grpcurl, or the `buf` that comes with `make run`."""
    method = "usermeta.backend.v1.BackendService/CreateUser"
    header = f"authorization: Bearer {secret}"
    buf = shutil.which("buf", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if buf and not shutil.which("grpcurl"):
        scheme = "https" if tls else "http"
        shown = os.path.relpath(buf)
        prefix = [shown if not shown.startswith("..") else buf, "curl", "--protocol", "grpc"]
        plaintext = [] if tls else ["--http2-prior-knowledge"]
        url = f"{scheme}://{address}/{method}"
        return shlex.join([*prefix, *plaintext, "-H", header, "-d", _FIRST_CALL, url])
    return shlex.join(["grpcurl", *([] if tls else ["-plaintext"]), "-H", header, "-d", _FIRST_CALL, address, method])
