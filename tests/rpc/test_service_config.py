"""docs/service_config.json, which clients load: reads are tried again, writes are not."""

import json
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from tests.rpc.methods import Subject
from tests.support import Service, bearer
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1 import backend_service_pb2_grpc
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.policy import ProfileAudience, Traffic, method_rules

FILE: Final = Path(__file__).parents[2] / "docs" / "service_config.json"


def test_it_retries_each_method_that_reads_and_no_other() -> None:
    (entry,) = json.loads(FILE.read_text())["methodConfig"]
    rules = method_rules(ProfileAudience.ANYONE)
    assert {f"/{name['service']}/{name['method']}" for name in entry["name"]} == {
        path for path, rule in rules.items() if rule.traffic is Traffic.READS
    }


class Failing:
    """Stands before a use case, and fails the first call of it."""

    def __init__(self, use_case: Any) -> None:  # noqa: ANN401  # any of them
        self._use_case = use_case
        self.calls = 0

    async def __call__(self, *args: object, **kwargs: object) -> object:
        self.calls += 1
        if self.calls == 1:
            raise UsermetaError(Reason.STORE_UNAVAILABLE)
        return await self._use_case(*args, **kwargs)


async def test_grpc_heeds_it(service: Service, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    users = service.server.app.use_cases.users
    read, write = Failing(users.get), Failing(users.delete)
    monkeypatch.setattr(users, "get", read)
    monkeypatch.setattr(users, "delete", write)
    metadata = bearer(service.admin_key)
    options = [("grpc.service_config", FILE.read_text())]
    async with grpc.aio.insecure_channel(service.address, options=options) as channel:
        stub = backend_service_pb2_grpc.BackendServiceStub(channel)
        response = await stub.GetUser(pb.GetUserRequest(user_id=subject.user_id), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.DeleteUser(pb.DeleteUserRequest(user_id=subject.user_id), metadata=metadata)
    assert (response.user.id, read.calls) == (subject.user_id, 2)
    assert (failed.value.code(), write.calls) == (grpc.StatusCode.UNAVAILABLE, 1)
