"""`usermeta serve` as a process whose disk, files and database's lock are interfered with from outside."""

import json
import resource
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2

from tests.cli.processes import Ended, Running, run, served
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1 import backend_service_pb2_grpc

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceStub  # as the stubs have it

SECONDS: Final = 30
"""After which what hangs fails its test."""
SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class Client:
    """A client of a server in another process, with an admin key."""

    def __init__(self, channel: grpc.Channel, key: str) -> None:
        self._stub: BackendServiceStub = backend_service_pb2_grpc.BackendServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )

    def create(self, user_id: str) -> str:
        """Make a user; return its id."""
        request = pb.CreateUserRequest(user_id=user_id)
        return self._stub.CreateUser(request, metadata=self._metadata, timeout=SECONDS).user.id

    def get(self, user_id: str) -> str:
        """Read a user; return its id."""
        request = pb.GetUserRequest(user_id=user_id)
        return self._stub.GetUser(request, metadata=self._metadata, timeout=SECONDS).user.id

    def count(self) -> int:
        """Count the users, which is read from the file."""
        return self._stub.CountUsers(pb.CountUsersRequest(), metadata=self._metadata, timeout=SECONDS).count

    def store_health(self) -> Iterator[int]:
        """Yield whether writes work, now and whenever it changes."""
        request = health_pb2.HealthCheckRequest(service="usermeta.store")
        return (reply.status for reply in self._watch(request, timeout=SECONDS))


@contextmanager
def running(folder: Path, **changes: str) -> Iterator[tuple[Running, Client]]:
    """Run a server on the database of a folder, with a client."""
    key = run(folder, "keys", "create", "test", "--scope", "admin").out.strip()
    with served(folder, **changes) as server, grpc.insecure_channel(server.address) as channel:
        yield server, Client(channel, key)


def refused(call: Callable[[], Any]) -> str:
    """Make a call that must be STORE_UNAVAILABLE, and return the cause."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    trailers: Any = caught.value.trailing_metadata()
    (packed,) = [value for key, value in trailers if key == "grpc-status-details-bin"]
    info = ErrorInfo()
    assert Status.FromString(packed).details[0].Unpack(info)
    assert (caught.value.code(), info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    return info.metadata["cause"]


def troubles(ended: Ended) -> list[str]:
    """Return what the server's own log says of more than the ordinary; nothing of it is a traceback."""
    lines = [json.loads(line) for line in ended.err.splitlines() if '"message"' in line]
    assert not any("exception" in line for line in lines)
    assert "Traceback" not in ended.err
    return [line["message"] for line in lines if line["level"] in {"warning", "error"}]


@contextmanager
def no_room(server: Running) -> Iterator[None]:
    """Let no file of a process be written past its first page, as a disk that fails."""
    if sys.platform != "linux":
        pytest.skip("only Linux sets the limits of another process")
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    with suppress(ProcessLookupError):  # it has ended
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)


def test_the_server_ends_when_the_last_checkpoint_fails(tmp_path: Path) -> None:
    """It says so, its exit code is not 0, and the next server has all that was acknowledged."""
    with running(tmp_path) as (server, client):
        client.create("user_a")
        with no_room(server):
            ended = server.end(signal.SIGTERM)
    assert ended.code == 1
    assert "closing the store failed" in " ".join(troubles(ended))
    with running(tmp_path) as (_, client):
        assert client.get("user_a") == "user_a"


def test_writes_come_back_when_the_disk_does(tmp_path: Path) -> None:
    """Meanwhile they are refused with the cause, reads go on, health says so, and the log has a line for each state."""
    with running(tmp_path) as (server, client):
        health = client.store_health()
        assert next(health) == SERVING
        client.create("user_a")
        with no_room(server):
            assert refused(lambda: client.create("user_b")) == "io_error"
            assert next(health) == NOT_SERVING
            assert [refused(lambda: client.create("user_c")) for _ in range(20)] == ["io_error"] * 20
            assert client.get("user_a") == "user_a"
            assert client.count() == 1
        assert next(health) == SERVING
        assert client.create("user_d") == "user_d"
        ended = server.end(signal.SIGTERM)
    failed, recovered = troubles(ended)
    assert "io_error" in failed
    assert "takes writes again" in recovered
    assert ended.code == 0
    with running(tmp_path) as (_, client):
        assert client.get("user_d") == "user_d"


@pytest.mark.parametrize("pattern", ["usermeta.db*", "usermeta.db", "usermeta.db-wal", "usermeta.db-shm", "*.lock"])
def test_a_server_whose_files_are_removed_acknowledges_no_more_writes(tmp_path: Path, pattern: str) -> None:
    """Not one; reads go on, health and the log say so, and it ends with an exit code that is not 0."""
    with running(tmp_path) as (server, client):
        health = client.store_health()
        assert next(health) == SERVING
        client.create("user_a")
        for file in list(tmp_path.glob(pattern)):
            file.unlink()
        assert refused(lambda: client.create("user_b")) == "replaced"
        assert next(health) == NOT_SERVING
        assert client.get("user_a") == "user_a"
        assert client.count() >= 1
        ended = server.end(signal.SIGTERM)
    assert ended.code == 1
    assert "replaced" in troubles(ended)[0]


def test_files_that_are_replaced_are_noticed_without_a_write(tmp_path: Path) -> None:
    """Another database is put in the place of the one that is open: health says so by itself."""
    with running(tmp_path) as (_, client):
        health = client.store_health()
        assert next(health) == SERVING
        other = tmp_path / "other"
        with closing(sqlite3.connect(other)) as connection:
            connection.execute("CREATE TABLE notes (text)")
        other.rename(tmp_path / "usermeta.db")
        assert next(health) == NOT_SERVING
        assert refused(lambda: client.create("user_b")) == "replaced"


def test_one_database_has_one_owner_by_whatever_path(tmp_path: Path) -> None:
    """A link to the file, and a link to its folder."""
    with running(tmp_path) as (server, _):
        (tmp_path / "link.db").symlink_to(tmp_path / "usermeta.db")
        (tmp_path / "folder").symlink_to(tmp_path)
        for name in ("link.db", "folder/usermeta.db"):
            ended = run(tmp_path, "serve", "--listen", "127.0.0.1:0", "--database-url", f"sqlite:///{tmp_path}/{name}")
            assert ended.code != 0
            assert f"owned by another process (pid {server.process.pid})" in ended.err


@contextmanager
def locked(folder: Path) -> Iterator[sqlite3.Connection]:
    """Hold the database's write lock as another process does, until it is given up or the context is left."""
    with closing(sqlite3.connect(folder / "usermeta.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def test_a_write_waits_for_another_process_that_holds_the_lock(tmp_path: Path) -> None:
    """Reads go on meanwhile, and once the lock is free the write is done."""
    with (
        running(tmp_path, USERMETA_LOCK_TIMEOUT="60s") as (_, client),
        ThreadPoolExecutor() as threads,
        locked(tmp_path) as other,
    ):
        writing = threads.submit(client.create, "user_a")
        for _ in range(20):
            client.count()
        assert not writing.done()
        other.execute("ROLLBACK")
        assert writing.result(SECONDS) == "user_a"


def test_a_write_waits_only_so_long(tmp_path: Path) -> None:
    """Then it is refused with the cause, and writes come back by themselves when the lock is free."""
    with running(tmp_path, USERMETA_LOCK_TIMEOUT="0.01s") as (server, client):
        health = client.store_health()
        assert next(health) == SERVING
        with locked(tmp_path):
            assert refused(lambda: client.create("user_a")) == "locked"
            assert next(health) == NOT_SERVING
        assert next(health) == SERVING
        assert client.create("user_a") == "user_a"
        assert server.end(signal.SIGTERM).code == 0
