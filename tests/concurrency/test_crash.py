"""Servers that are killed under load keep what they acknowledged; and the script that says so can tell."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from google.protobuf.struct_pb2 import Value

from tests.support import DEADLINE, request_id, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.type.v1.patch_pb2 import PatchOperation

if TYPE_CHECKING:  # this name is only in the stubs
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub

SCRIPT: Final = Path(__file__).parents[2] / "scripts" / "crash.py"


def test_killed_servers_keep_what_they_acknowledged() -> None:
    """Two servers are killed under the load of 36 writers: the next one has all that was acknowledged."""
    command = [sys.executable, str(SCRIPT), "--rounds", "2", "--seconds", "0.6", "--seed", "1"]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=2 * DEADLINE)  # noqa: S603  # ours
    assert run.returncode == 0, run.stdout + run.stderr
    summary = re.search(r"^2 rounds, (\d+) acknowledged writes, 0 lost \(seed 1\)$", run.stdout, re.MULTILINE)
    assert summary is not None, run.stdout
    assert int(summary[1]) >= 2, "each of them acknowledged something first"


@pytest.fixture
def crash() -> Any:  # noqa: ANN401  # a script
    spec = importlib.util.spec_from_file_location("crash", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture
async def stub(tmp_path: Path, crash: Any) -> AsyncIterator["BackendServiceAsyncStub"]:  # noqa: ANN401  # a script
    """Run a server with the script's counter at 0, and one user with 7 in its documents."""
    async with serving(settings(tmp_path)) as service:
        await service.admin.CreateUser(pb.CreateUserRequest(user_id=crash.COUNTER))
        user = User(username="user_a", **crash.documents(7))
        await service.admin.CreateUser(pb.CreateUserRequest(user=user, user_id="user_a"))
        yield service.admin


async def etags_of(stub: "BackendServiceAsyncStub", user_id: str) -> bytes:
    user = (await stub.GetUser(pb.GetUserRequest(user_id=user_id))).user
    return user.metadata_etags.SerializeToString(deterministic=True)


async def test_what_turned_out_as_promised_is_no_loss(stub: "BackendServiceAsyncStub", crash: Any) -> None:  # noqa: ANN401  # a script
    """Acknowledged writes are there; unacknowledged ones are, or are not, and increments are sent again once."""
    ledger = crash.Ledger()
    ledger.users["user_a"] = crash.State(7, await etags_of(stub, "user_a"))
    ledger.unknown = {"user_a": 8, "user_b": 9}
    ledger.unknown_increments = [increment(crash.COUNTER, request_id()) for _ in range(2)]
    await stub.PatchUserMetadata(ledger.unknown_increments[0])
    assert await ledger.check(stub) == []
    assert (ledger.count, ledger.survived) == (2, 1)
    assert await ledger.check(stub) == []


@pytest.mark.parametrize(
    ("acknowledged", "loss"),
    [
        (("user_x", 7, None), "user_x: is gone"),
        (("user_a", 8, None), "user_a: has"),
        (("user_a", 7, b"others"), "user_a: has"),
    ],
)
async def test_a_lost_write_is_noticed(
    stub: "BackendServiceAsyncStub",
    crash: Any,  # noqa: ANN401  # a script
    acknowledged: tuple[str, int, bytes | None],
    loss: str,
) -> None:
    """An acknowledged user that is not there, or with another content, or with other etags."""
    user_id, number, etags = acknowledged
    ledger = crash.Ledger()
    ledger.users[user_id] = crash.State(number, etags or await etags_of(stub, "user_a"))
    (found,) = await ledger.check(stub)
    assert found.startswith(loss)


async def test_a_write_by_half_is_noticed(stub: "BackendServiceAsyncStub", crash: Any) -> None:  # noqa: ANN401  # a script
    """Of an unacknowledged write one document is there and the others are not; or only the name is."""
    ledger = crash.Ledger()
    ledger.users["user_a"] = crash.State(7, await etags_of(stub, "user_a"))
    ledger.unknown["user_a"] = 8
    document = crash.documents(8)["public_metadata"]
    await stub.MergeUserMetadata(pb.MergeUserMetadataRequest(user_id="user_a", public_metadata=document))
    await stub.CreateUser(pb.CreateUserRequest(user=User(username="user_b")))
    ledger.unknown["user_b"] = 9
    first, second = await ledger.check(stub)
    assert first.startswith("user_a: has")
    assert second == "user_b: its name is not free"


async def test_a_lost_increment_is_noticed(stub: "BackendServiceAsyncStub", crash: Any) -> None:  # noqa: ANN401  # a script
    """The counter is below what was acknowledged, then above what was ever sent."""
    ledger = crash.Ledger()
    ledger.count = 1
    assert "the counter is 0, not 1 to 1" in await ledger.check(stub)
    for _ in range(2):
        await stub.PatchUserMetadata(increment(crash.COUNTER))
    assert "the counter is 2, not 1 to 1" in await ledger.check(stub)


def increment(user_id: str, known_as: str = "") -> pb.PatchUserMetadataRequest:
    operation = PatchOperation(op=PatchOperation.OP_INCREMENT, path="/count", value=Value(number_value=1))
    return pb.PatchUserMetadataRequest(user_id=user_id, public_metadata=[operation], request_id=known_as)
