"""A server whose output nobody reads: it serves, and says afterwards what it could not say."""

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from tests.cli.processes import COMMAND, Running, environment, served
from tests.support import DEADLINE, FRONTEND

CALLS: Final = 8000
"""More than a pipe and the server's buffer hold lines of."""
AT_ONCE: Final = 64


async def call(channel: grpc.aio.Channel, count: int) -> None:
    """Ask for profiles of nobody, so many times."""
    method: Any = channel.unary_unary(f"{FRONTEND}GetProfile", request_serializer=bytes, response_deserializer=bytes)
    left = iter(range(count))

    async def call_on() -> None:
        for _ in left:
            assert await method(b"\x0a\x06nobody", timeout=DEADLINE).code() is grpc.StatusCode.NOT_FOUND

    await asyncio.gather(*[call_on() for _ in range(AT_ONCE)])


def read_on(server: Running, count: int) -> int:
    """Read a log until it has accounted for so many calls, by lines or as dropped; return how many were dropped."""
    calls = dropped = 0
    assert server.process.stderr is not None
    while calls + dropped < count:
        line = json.loads(server.process.stderr.readline())
        calls += "method" in line
        if "dropped" in line.get("message", ""):
            dropped += next(int(word) for word in line["message"].split() if word.isdigit())
    assert calls + dropped == count
    return dropped


async def test_a_log_that_nobody_reads_does_not_stop_the_server(tmp_path: Path) -> None:
    with served(tmp_path, USERMETA_ACCESS_LOG="all", USERMETA_LIMITS="off") as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            await call(channel, CALLS)
            assert await asyncio.wait_for(asyncio.to_thread(read_on, server, CALLS), DEADLINE)
            await call(channel, 1)
        ended = await asyncio.to_thread(server.end, signal.SIGTERM)
    messages = [line["method"] if "method" in line else line["message"] for line in map(json.loads, _after(ended.err))]
    assert sorted(messages) == [f"{FRONTEND}GetProfile", "usermeta has stopped", "usermeta is stopping"]


def _after(log: str) -> list[str]:
    """Return the lines of a log that come after the server says that it listens."""
    return log.partition("listens on")[2].splitlines()[1:]


async def test_a_server_whose_log_is_never_read_ends(tmp_path: Path) -> None:
    with served(tmp_path, USERMETA_ACCESS_LOG="all", USERMETA_LIMITS="off") as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            await call(channel, CALLS)
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.process.wait, DEADLINE) == 0


@pytest.mark.parametrize("read_in_the_end", [True, False])
def test_standard_output_that_nobody_reads_does_not_stop_the_server(tmp_path: Path, *, read_in_the_end: bool) -> None:
    out, into = os.pipe()
    os.set_blocking(into, False)
    filled = 0
    while True:
        try:
            filled += os.write(into, bytes(1 << 16))
        except BlockingIOError:
            break
    os.set_blocking(into, True)
    process = subprocess.Popen(  # noqa: S603  # no shell
        [*COMMAND, "serve", "--listen", "127.0.0.1:0"],
        cwd=tmp_path,
        env=environment(tmp_path, {}),
        stdout=into,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(into)
    try:
        server = Running(process)
        assert any("nobody reads standard output" in line for line in server.errors)
        if read_in_the_end:
            with os.fdopen(out, "rb", closefd=False) as file:
                file.read(filled)
                assert file.readline().startswith(b"Your first secret key")
        assert server.end(signal.SIGTERM).code == 0
    finally:
        process.kill()
        process.wait(DEADLINE)
        os.close(out)
