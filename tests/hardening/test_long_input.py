"""Input that is much too long is refused as any other: with an error that reaches the client whole."""

from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.support import Service, bearer, log_file, refused, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1 import backend_service_pb2_grpc
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb

LONG = "é" * 100_000
REQUESTS = {
    "UpdateUser": (pb.UpdateUserRequest(user=User(id="user_1"), update_mask=FieldMask(paths=[LONG])), "FIELD_INVALID"),
    "BatchGetUsers": (pb.BatchGetUsersRequest(user_ids=["a"], read_mask=FieldMask(paths=[LONG])), "FIELD_INVALID"),
    "CountUsers": (pb.CountUsersRequest(filter="a" * 4000 + " = 1"), "FILTER_INVALID"),
    "CreateUser": (pb.CreateUserRequest(user=User(first_name=LONG, last_name=LONG, username=LONG)), "FIELD_INVALID"),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_the_error_fits_into_the_headers_of_a_client_as_it_comes(service: Service, name: str) -> None:
    """A client takes 8 KiB of headers unless told otherwise; the error is in them."""
    request, reason = REQUESTS[name]
    async with grpc.aio.insecure_channel(service.address) as channel:
        call = getattr(backend_service_pb2_grpc.BackendServiceStub(channel), name)
        await refused(call(request, metadata=bearer(service.admin_key)), reason)


@pytest.mark.parametrize("user_id", ["u" * 129, "é" * 65])
async def test_ids_that_no_user_can_have_are_refused(service: Service, user_id: str) -> None:
    """A reply repeats the ids that it did not find: their length bounds it."""
    refusal = await refused(service.admin.BatchGetUsers(pb.BatchGetUsersRequest(user_ids=["a", user_id])))
    assert refusal.fields == ("user_ids[1]",)
    await refused(service.frontend().BatchGetProfiles(frontend_pb.BatchGetProfilesRequest(user_ids=[user_id])))


async def test_the_access_log_holds_no_more_of_a_request_id_than_a_uuid_has(tmp_path: Path) -> None:
    """Nobody can fill the log with one call."""
    folder = tmp_path
    log = folder / "access.log"
    with log_file(log) as descriptor:
        async with serving(settings(folder, access_log="all"), log_descriptor=descriptor) as service:
            request = frontend_pb.CreateSignUpRequest(request_id="x" * 1_000_000)
            await refused(service.frontend().CreateSignUp(request), "FIELD_INVALID")
    assert "x" * 36 in log.read_text()
    assert "x" * 37 not in log.read_text()
