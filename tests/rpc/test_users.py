"""Users themselves: found, and erased."""

from typing import Any

import grpc
import pytest

from tests.rpc.users import full, unique
from tests.support import Service, refused
from usermeta.backend.v1 import backend_service_pb2 as pb


def asking(kind: str, value: str) -> pb.GetUserRequest:
    """Make a request for the user that has an identifier."""
    identifier: dict[str, Any] = {kind: value}
    return pb.GetUserRequest(**identifier)


@pytest.mark.parametrize("kind", ["user_id", "external_id", "username", "email_address"])
async def test_a_user_is_found_by_each_identifier(service: Service, kind: str) -> None:
    made = await service.user(**full())
    value = made.id if kind == "user_id" else getattr(made, kind)
    request = asking(kind, value)
    assert (await service.admin.GetUser(request)).user == made


@pytest.mark.parametrize("kind", ["username", "email_address"])
async def test_a_user_is_found_whatever_the_case(service: Service, kind: str) -> None:
    name = unique("Straße")
    made = await service.user(**{kind: f"{name}@Example.com"})
    request = asking(kind, f"{name.upper()}@EXAMPLE.com")
    assert (await service.admin.GetUser(request)).user == made


@pytest.mark.parametrize("kind", ["user_id", "external_id", "username", "email_address"])
async def test_a_user_that_is_not_there_is_not_found(service: Service, kind: str) -> None:
    request = asking(kind, "nobody@example.com")
    refusal = await refused(service.admin.GetUser(request), "USER_NOT_FOUND")
    assert refusal.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "request_", [pb.GetUserRequest(), pb.GetUserRequest(username=""), pb.GetUserRequest(user_id="")]
)
async def test_an_identifier_is_required(service: Service, request_: pb.GetUserRequest) -> None:
    refusal = await refused(service.admin.GetUser(request_), "FIELD_INVALID")
    assert len(refusal.fields) == 1


async def test_a_deleted_user_is_gone_and_its_identifiers_are_free(service: Service) -> None:
    given = full()
    made = await service.user(**given)
    await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=made.id))
    await refused(service.get(made.id), "USER_NOT_FOUND")
    await refused(service.admin.GetUser(pb.GetUserRequest(username=made.username)), "USER_NOT_FOUND")
    await refused(service.admin.DeleteUser(pb.DeleteUserRequest(user_id=made.id)), "USER_NOT_FOUND")
    again = await service.user(**given)
    assert again.id != made.id


async def test_a_deletion_names_its_user(service: Service) -> None:
    refusal = await refused(service.admin.DeleteUser(pb.DeleteUserRequest()), "FIELD_INVALID")
    assert refusal.fields == ("user_id",)
