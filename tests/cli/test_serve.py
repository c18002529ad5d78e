"""`usermeta serve` as a process: how it begins, how it ends, and what it says when it cannot."""

import json
import shlex
import signal
import socket
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.cli.processes import COMMAND, Ended, Running, environment, run, served
from tests.support import DEADLINE


def refused_to_start(ended: Ended, code: int = 2) -> str:
    """Return the one line that says why a server did not start."""
    assert ended.code == code, ended
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("usermeta: ")
    return line


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refused_to_start(run(tmp_path, "serve", "--listen", address))
    assert address in line


def test_two_servers_never_share_a_port(tmp_path: Path) -> None:
    """SO_REUSEPORT is off: a second server would take half of the first one's calls in silence."""
    with served(tmp_path) as first:
        other = tmp_path / "other"
        other.mkdir()
        assert first.address in refused_to_start(run(other, "serve", "--listen", first.address))


def test_a_database_that_another_process_owns_is_one_line(tmp_path: Path) -> None:
    with served(tmp_path) as first:
        line = refused_to_start(run(tmp_path, "serve", "--listen", "127.0.0.1:0"), 5)
        assert str(first.process.pid) in line
    assert "owned" in line


def test_a_database_of_a_newer_program_is_one_line(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "usermeta.db")) as connection:
        connection.execute("PRAGMA user_version = 9999")
    assert "newer" in refused_to_start(run(tmp_path, "serve"), 5)


def test_a_database_of_another_program_is_one_line(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "usermeta.db")) as connection:
        connection.execute("CREATE TABLE notes (text)")
    assert "another program" in refused_to_start(run(tmp_path, "serve"), 5)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "usermeta.db").write_text("not a database, but long enough to be read as one" * 100)
    assert "usermeta.db" in refused_to_start(run(tmp_path, "serve"), 5)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """Below a file there can be no folder, whoever runs the test."""
    (tmp_path / "file").write_text("")
    database = f"sqlite:///{tmp_path}/file/usermeta.db"
    assert "file" in refused_to_start(run(tmp_path, "serve", USERMETA_DATABASE_URL=database), 5)


BAD_SETTINGS = [
    ("USERMETA_LISTEN", "nowhere"),
    ("USERMETA_DATABASE_URL", "postgres://localhost/users"),
    ("USERMETA_PROFILES", "everyone"),
    ("USERMETA_METADATA_MAX_BYTES", "8 pages"),
    ("USERMETA_REFLECTION", "perhaps"),
]


@pytest.mark.parametrize(("name", "value"), BAD_SETTINGS)
def test_a_bad_setting_is_one_line_that_names_it(tmp_path: Path, name: str, value: str) -> None:
    line = refused_to_start(run(tmp_path, "serve", **{name: value}))
    assert name in line
    assert value in line


def test_a_flag_wins_over_the_environment_and_is_named_when_it_is_wrong(tmp_path: Path) -> None:
    line = refused_to_start(run(tmp_path, "serve", "--listen", "nowhere", USERMETA_LISTEN="127.0.0.1:0"))
    assert "--listen" in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_gracefully(tmp_path: Path, number: signal.Signals) -> None:
    """An open watch of health is told, and ended before the grace is over."""
    with served(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=bytes,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )(b"", timeout=DEADLINE)
        first = next(watch)
        ended = server.end(number)
        rest = [reply.status for reply in watch]
        assert watch.code() is grpc.StatusCode.OK, "the grace had to end it"
    assert first.status == health_pb2.HealthCheckResponse.SERVING
    assert rest == [health_pb2.HealthCheckResponse.NOT_SERVING]
    assert ended.code == 0
    messages = [json.loads(line)["message"] for line in ended.err.splitlines() if '"message"' in line]
    assert messages[-2:] == ["usermeta is stopping", "usermeta has stopped"]
    assert not (tmp_path / "usermeta.db-wal").exists()


@pytest.mark.parametrize("closed", [1, 2])
def test_a_server_ends_gracefully_though_a_standard_stream_was_closed(tmp_path: Path, closed: int) -> None:
    """Nothing of its own has taken the stream's place."""
    process = subprocess.Popen(  # noqa: S603  # no input
        ["/bin/sh", "-c", f'exec "$@" {closed}>&-', "", *COMMAND, "serve", "--listen", "127.0.0.1:0"],
        cwd=tmp_path,
        env=environment(tmp_path, {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if closed == 1:
            Running(process)
        else:
            assert process.stdout.readline().startswith("Your first secret key")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait(DEADLINE)


def test_an_empty_store_gets_a_first_key_with_a_call_to_paste(tmp_path: Path) -> None:
    """The key works, the call works, and both are printed only once."""
    with served(tmp_path) as server:
        listed = None
        ended = server.end(signal.SIGTERM)
    lines = [line.strip() for line in ended.out.splitlines() if line.strip()]
    (secret,) = [line for line in lines if line.startswith("sk_")]
    (pasted,) = [line for line in lines if "CreateUser" in line]
    assert secret in pasted
    assert server.address in pasted
    assert shlex.split(pasted)[0]
    assert secret not in ended.err
    with served(tmp_path) as server:
        listed = run(tmp_path, "keys", "list", USERMETA_ADDRESS=server.address, USERMETA_KEY=secret)
        again = server.end(signal.SIGTERM)
    assert (listed.code, again.out) == (0, "")
    assert secret.split("_")[1] in listed.out


def test_the_folder_of_the_database_is_made_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    ended = run(tmp_path, "keys", "create", "first", USERMETA_DATABASE_URL="sqlite:///deep/below/usermeta.db")
    assert ended.code == 0
    for file in (tmp_path / "deep" / "below").iterdir():
        assert file.stat().st_mode & 0o077 == 0


def test_a_store_in_memory_is_gone_with_its_server(tmp_path: Path) -> None:
    """It makes a first key, serves, and leaves no file."""
    with served(tmp_path, USERMETA_DATABASE_URL="memory://") as running:
        with grpc.insecure_channel(running.address) as channel:
            check: Any = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=bytes)
            assert health_pb2.HealthCheckResponse.FromString(check(b"", timeout=DEADLINE)).status == 1
        ended = running.end(signal.SIGTERM)
    assert ended.code == 0
    assert "sk_" in ended.out
    assert list(tmp_path.iterdir()) == []
