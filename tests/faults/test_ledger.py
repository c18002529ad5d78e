"""The ledger can tell what is lost, doubled or torn; and servers that are killed under load lose nothing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.__main__ import report
from tests.faults.ledger import COUNTER, Fault, Flaw, Increment, Ledger, Write, documents, etags_of
from tests.faults.power import kills
from tests.faults.rig import Outcome, Rig
from tests.support import Service, request_id, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.type.v1.patch_pb2 import PatchOperation


async def test_killed_servers_keep_what_they_acknowledged(tmp_path: Path) -> None:
    """Two servers are killed under the load of 36 writers: the next one has all that was acknowledged."""
    outcome = await kills(Rig(tmp_path, tmp_path, 1), 2)
    assert outcome.flaws == []
    assert outcome.runs == 2
    assert outcome.acknowledged >= 2, "each of them acknowledged something first"


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Service]:
    """Run a server with the counter at 0, and one user with 7 in its documents."""
    async with serving(settings(tmp_path)) as service:
        await service.admin.CreateUser(pb.CreateUserRequest(user_id=COUNTER))
        user = User(username="user_a", **documents(7))
        await service.admin.CreateUser(pb.CreateUserRequest(user=user, user_id="user_a"))
        yield service


async def ledger_of(service: Service) -> Ledger:
    """Return what was acknowledged: the user's creation."""
    ledger = Ledger()
    ledger.acknowledge(ledger.sending("user_a", 7), etags_of(await service.get("user_a")))
    return ledger


def increment(known_as: str = "") -> pb.PatchUserMetadataRequest:
    operation = PatchOperation(op=PatchOperation.OP_INCREMENT, path="/count")
    operation.value.number_value = 1
    return pb.PatchUserMetadataRequest(user_id=COUNTER, public_metadata=[operation], request_id=known_as)


async def test_what_turned_out_as_promised_is_no_flaw(own: Service) -> None:
    """Acknowledged writes are there; unacknowledged ones are, or are not, and increments are sent again once."""
    ledger = await ledger_of(own)
    ledger.sending("user_a", 8)
    ledger.sending("user_b", 9)
    ledger.increments = [Increment(increment(request_id()), 0) for _ in range(2)]
    await own.admin.PatchUserMetadata(ledger.increments[0].request)
    assert await ledger.check(own.admin) == []
    assert ledger.acknowledged() == 3
    assert await ledger.check(own.admin) == []


@pytest.mark.parametrize(
    ("user_id", "write", "fault"),
    [
        ("user_x", Write(7, 0, 0, b"x"), Fault.LOST),
        ("user_a", Write(8, 0, 0, b"x"), Fault.LOST),
        ("user_a", Write(0, 0, 0), Fault.LOST),
        ("user_a", Write(7, 0, 0, b"others"), Fault.TORN),
    ],
)
async def test_a_lost_write_is_noticed(own: Service, user_id: str, write: Write, fault: Fault) -> None:
    """A user that is not there, or with another content, or that was deleted, or with other etags."""
    ledger = Ledger()
    ledger.users[user_id] = [write]
    assert {flaw.fault for flaw in await ledger.check(own.admin)} == {fault}


async def test_a_write_by_half_is_noticed(own: Service) -> None:
    """Of an unacknowledged write one document is there and the others are not; or only the name is."""
    ledger = await ledger_of(own)
    ledger.sending("user_a", 8)
    document = documents(8)["public_metadata"]
    await own.admin.MergeUserMetadata(pb.MergeUserMetadataRequest(user_id="user_a", public_metadata=document))
    ledger.sending("user_b", 9)
    await own.user(username="user_b")
    first, second = await ledger.check(own.admin)
    assert first == Flaw(Fault.TORN, "user_a: is -1, 7 was acknowledged, 8 was not answered")
    assert second == Flaw(Fault.TORN, "user_b: its name is not free")


async def test_a_lost_or_doubled_increment_is_noticed(own: Service) -> None:
    """The counter is below what was acknowledged, then above what was ever sent."""
    ledger = Ledger()
    ledger.increments = [Increment(increment(), 0, 0)]
    assert await ledger.check(own.admin) == [Flaw(Fault.LOST, "the counter is 0, not 1 to 1")]
    for _ in range(2):
        await own.admin.PatchUserMetadata(increment())
    assert await ledger.check(own.admin) == [Flaw(Fault.DOUBLED, "the counter is 2, not 1 to 1")]


def test_what_was_answered_later_was_not_answered_until_then() -> None:
    ledger = Ledger()
    ledger.users = {"user_a": [Write(7, 10, 20, b"x"), Write(8, 20, 30, b"y")], "user_b": [Write(9, 40)]}
    ledger.increments = [Increment(increment(), 10, 20), Increment(increment(), 15, 40)]
    earlier = ledger.until(25)
    assert earlier.state("user_a") == (7, b"x")
    assert earlier.users["user_a"][-1].number == 8
    assert not earlier.users["user_b"]
    assert (earlier.acknowledged(), len(earlier.increments)) == (2, 2)
    assert ledger.acknowledged() == 4


@pytest.mark.parametrize(
    ("flaws", "must_lose", "good"), [(0, False, True), (1, False, False), (0, True, False), (1, True, True)]
)
def test_a_loss_fails_a_scenario_unless_it_has_to_lose(flaws: int, must_lose: bool, good: bool) -> None:  # noqa: FBT001  # parameters
    """One that has to lose something is no proof when it fails otherwise."""
    outcome = Outcome(3, 5, [Flaw(Fault.LOST, "user_a: is gone")] * flaws)
    assert report("cuts", outcome, must_lose=must_lose)[0] is good
