"""One line of an import while others write, and while the server comes and goes."""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from tests.support import Service, serving, settings, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta_server.cli.reconcile import ConflictError, Line, Outcome, Reconciler, read_line

Step = Callable[[], Awaitable[None]]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is tried again be tried soon."""
    monkeypatch.setattr(sys.modules[Reconciler.__module__], "_MAX_DELAY", 0.01)


class Meanwhile:
    """A stub after whose calls of one method, failed ones too, something happens."""

    def __init__(self, service: Service, method: str, step: Step) -> None:
        self.calls: list[str] = []
        self._stub: Any = service.admin
        self._method = method
        self._step = step

    def __getattr__(self, name: str) -> Callable[[Any], Awaitable[Any]]:
        """Return the call of a method."""

        async def call(request: object) -> object:
            self.calls.append(name)
            try:
                return await getattr(self._stub, name)(request)
            finally:
                if name == self._method:
                    await self._step()

        return call


def reconciler(stub: object, *, update: bool = False) -> Reconciler:
    """Return what reconciles lines through a stub."""
    return Reconciler(cast("Any", stub), update=update)


def line(**fields: object) -> Line:
    """Return a line with these fields."""
    return read_line(1, json.dumps(fields).encode())


async def nothing() -> None:
    """Let nothing happen."""


def unavailable() -> grpc.aio.AioRpcError:
    """Return the error of a call whose connection broke."""
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "broke")


class Breaking:
    """Lets a call fail though it has happened, so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    async def __call__(self) -> None:
        """Break the call."""
        if self.left:
            self.left -= 1
            raise unavailable()


async def test_what_somebody_writes_meanwhile_is_not_lost(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as service:
        user = await service.user(username="ada", public_metadata={"n": 1})

        async def write() -> None:
            request = pb.MergeUserMetadataRequest(user_id=user.id, public_metadata=struct({"theirs": True}))
            await service.admin.MergeUserMetadata(request)

        stub = Meanwhile(service, "GetUser", write)
        with pytest.raises(ConflictError, match="meanwhile"):
            await reconciler(stub, update=True).reconcile(line(id=user.id, username="ada", public_metadata={"n": 2}))
        assert dict((await service.get(user.id)).public_metadata.items()) == {"n": 1, "theirs": True}


async def test_a_profile_that_somebody_changes_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as service:
        user = await service.user(username="ada")

        async def write() -> None:
            await service.admin.UpdateUser(pb.UpdateUserRequest(user=User(id=user.id, first_name="Grace")))

        stub = Meanwhile(service, "GetUser", write)
        with pytest.raises(ConflictError, match="meanwhile"):
            await reconciler(stub, update=True).reconcile(line(id=user.id, username="ada", first_name="Ada"))
        assert (await service.get(user.id)).first_name == "Grace"


@pytest.mark.parametrize("fields", [{"username": "ada"}, {"first_name": "Ada"}], ids=["username", "nameless"])
async def test_a_user_whose_making_breaks_off_is_made_once(tmp_path: Path, fields: dict[str, str]) -> None:
    async with serving(settings(tmp_path)) as service:
        stub = Meanwhile(service, "GetUser", nothing)
        job = reconciler(stub)
        assert await job.reconcile(line(id="user_x")) is Outcome.CREATED
        stub._method, stub._step = "CreateUser", Breaking(3)
        assert await job.reconcile(line(**fields)) is Outcome.CREATED
        assert (await service.admin.CountUsers(pb.CountUsersRequest())).count == 2


async def test_an_update_that_breaks_off_is_made_once(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as service:
        user = await service.user(username="ada")
        stub = Meanwhile(service, "ReplaceUserMetadata", Breaking(2))
        wanted = line(id=user.id, username="ada", public_metadata={"n": 1})
        assert await reconciler(stub, update=True).reconcile(wanted) is Outcome.UPDATED
        assert stub.calls == ["CreateUser", "GetUser", *["ReplaceUserMetadata"] * 3]
        changes = (await service.admin.ListUserChanges(pb.ListUserChangesRequest(user_id=user.id))).changes
        assert len(changes) == 2


async def test_a_server_that_was_never_there_is_not_waited_for(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as service:
        stub = Meanwhile(service, "CreateUser", Breaking(1))
        with pytest.raises(grpc.aio.AioRpcError):
            await reconciler(stub).reconcile(line(username="ada"))
        assert stub.calls == ["CreateUser"]


async def test_a_server_that_stays_away_ends_it(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as service:
        stub = Meanwhile(service, "CreateUser", nothing)
        job = reconciler(stub)
        assert await job.reconcile(line(username="ada")) is Outcome.CREATED
        assert await job.reconcile(line(username="ada")) is Outcome.UNCHANGED
        stub._step = Breaking(1000)
        with pytest.raises(grpc.aio.AioRpcError):
            await job.reconcile(line(username="bob"))
        assert stub.calls.count("CreateUser") > 4
