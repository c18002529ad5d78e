"""What a frontend cannot do or see, whatever bytes and headers it sends."""

from typing import Final

import grpc
import pytest

from tests.rpc.methods import HOLDERS, MARK, METHODS, Subject, call, credential, raw, sample
from tests.support import FRONTEND, Service, bearer, document, refused, struct
from usermeta.backend.v1 import backend_service_pb2 as backend_pb
from usermeta.backend.v1.sign_up_pb2 import SignUp as BackendSignUp
from usermeta.backend.v1.user_pb2 import User as BackendUser

FRONTEND_METHODS: Final = [path for path in METHODS if path.startswith(FRONTEND)]
FRONTEND_WRITES: Final = [path for path in FRONTEND_METHODS if METHODS[path].mutating]
USER_WRITES: Final = [path for path in FRONTEND_WRITES if not path.endswith("SignUp")]
LOOT: Final = struct({"role": "admin"}).SerializeToString()


def free_numbers(path: str) -> list[int]:
    """Return numbers under which the request of an RPC has no field."""
    return [number for number in range(5, 21) if number not in METHODS[path].request.DESCRIPTOR.fields_by_number]


FREE: Final = [(path, number) for path in FRONTEND_WRITES for number in free_numbers(path)]


def length_delimited(number: int, body: bytes) -> bytes:
    """Return a field of a message on the wire: a string, bytes or message of less than 128 bytes."""
    key = number << 3 | 2
    tag = bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])
    return tag + bytes([len(body)]) + body


def varint(number: int, value: int) -> bytes:
    """Return a field on the wire that is a small number."""
    return bytes([number << 3, value])


@pytest.mark.parametrize(("path", "number"), FREE)
async def test_a_field_that_a_frontend_request_does_not_have_changes_nothing(
    service: Service, subject: Subject, path: str, number: int
) -> None:
    """A Struct under any further number, say that of a backend's private document, is as if it were not there."""
    request = sample(path, subject).SerializeToString()
    metadata = bearer(credential(service, path, subject))
    reply = await service.raw(path, request + length_delimited(number, LOOT), metadata)
    assert b"role" not in reply
    for kept, plan in ((await service.get(subject.user_id), "pro"), (await signed_up(service, subject), MARK)):
        assert document(kept.private_metadata) == {"secret": MARK}
        assert document(kept.public_metadata) == {"plan": plan}
        assert "role" not in kept.unsafe_metadata


async def signed_up(service: Service, subject: Subject) -> BackendUser | BackendSignUp:
    """Return the subject's sign-up as backends see it, or the user that it became."""
    request = backend_pb.GetSignUpRequest(sign_up_id=subject.sign_up_id)
    sign_up = (await service.admin.GetSignUp(request)).sign_up
    return await service.get(sign_up.created_user_id) if sign_up.created_user_id else sign_up


@pytest.mark.parametrize("name", ["MergeUserMetadata", "ReplaceUserMetadata"])
async def test_a_backends_request_does_nothing_at_a_frontend(service: Service, subject: Subject, name: str) -> None:
    """The bytes of a backend's request do not fit: there its documents are at the places of other fields."""
    loot = struct({"role": "admin"})
    request = backend_pb.MergeUserMetadataRequest(user_id="", public_metadata=loot, private_metadata=loot)
    await refused(service.raw(FRONTEND + name, request.SerializeToString(), bearer(subject.session)))
    user = await service.get(subject.user_id)
    assert document(user.private_metadata) == {"secret": MARK}
    assert document(user.public_metadata) == {"plan": "pro"}


FORGED_FIELDS: Final = {
    "external_id": (2, b"other"),
    "public_metadata": (9, LOOT),
    "private_metadata": (10, LOOT),
    "unsafe_metadata": (11, LOOT),
}


@pytest.mark.parametrize(("number", "body"), FORGED_FIELDS.values(), ids=FORGED_FIELDS)
@pytest.mark.parametrize("mask", ["", "*", "first_name"])
async def test_a_forged_field_of_the_user_is_refused_or_changes_nothing(
    service: Service, subject: Subject, number: int, body: bytes, mask: str
) -> None:
    before = await service.get(subject.user_id)
    user = length_delimited(6, b"Ada") + length_delimited(number, body) + varint(5, 1) + varint(14, 1)
    request = length_delimited(1, user) + (length_delimited(2, length_delimited(1, mask.encode())) if mask else b"")
    try:
        await service.raw(f"{FRONTEND}UpdateUser", request, bearer(subject.session))
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT  # noqa: PT017  # either outcome is right
    after = await service.get(subject.user_id)
    for name in ("external_id", "public_metadata", "private_metadata", "unsafe_metadata", "banned", "metadata_etags"):
        assert getattr(after, name) == getattr(before, name)
    assert not after.email_address_verified


@pytest.mark.parametrize("name", ["external_id", "banned", "email_address", "email_address_verified", "id", "etag"])
async def test_a_frontend_cannot_name_a_field_that_is_not_its_own(
    service: Service, subject: Subject, name: str
) -> None:
    mask = length_delimited(1, name.encode())
    refusal = await refused(
        service.raw(f"{FRONTEND}UpdateUser", length_delimited(2, mask), bearer(subject.session)), "FIELD_INVALID"
    )
    assert refusal.fields == ("update_mask",)


HEADERS: Final = ("audience", "x-audience", "usermeta-audience", "x-usermeta-audience", "x-principal", "x-user-id")


@pytest.mark.parametrize("header", HEADERS)
async def test_the_audience_is_never_what_a_header_says(service: Service, subject: Subject, header: str) -> None:
    metadata = (*bearer(subject.session), (header, "backend"))
    path = "/usermeta.backend.v1.BackendService/GetUser"
    await refused(call(service, path, sample(path, subject), metadata), "CREDENTIAL_INVALID")
    reply = await service.raw(f"{FRONTEND}GetUser", b"", metadata)
    assert MARK.encode() not in reply


@pytest.mark.parametrize("path", FRONTEND_METHODS)
async def test_no_reply_to_a_frontend_holds_anything_private(service: Service, subject: Subject, path: str) -> None:
    """Neither as bytes nor under a backend's field numbers."""
    request = sample(path, subject).SerializeToString()
    reply = await raw(service, path, request, bearer(credential(service, path, subject)))
    user, sign_up = await service.get(subject.user_id), await signed_up(service, subject)
    for secret in (
        user.external_id,
        user.metadata_etags.private_metadata,
        user.etag,
        sign_up.external_id,
        sign_up.etag,
    ):
        assert secret
        assert secret.encode() not in reply
    if path == f"{FRONTEND}CompleteSignUp":  # what is public now was attached by a backend
        assert reply.count(MARK.encode()) == 1
    else:
        assert MARK.encode() not in reply
    if METHODS[path].response.DESCRIPTOR.fields_by_name.get("user"):
        told = backend_pb.GetUserResponse.FromString(reply).user
        assert told.id == (sign_up.id if path in HOLDERS else user.id)
        assert not told.HasField("private_metadata")
        assert not told.external_id


@pytest.mark.parametrize("path", USER_WRITES)
async def test_a_frontends_write_leaves_the_other_documents_alone(
    service: Service, subject: Subject, path: str
) -> None:
    before = await service.get(subject.user_id)
    await call(service, path, sample(path, subject), bearer(subject.session))
    after = await service.get(subject.user_id)
    for name in ("public_metadata", "private_metadata"):
        assert getattr(after, name) == getattr(before, name)
        assert getattr(after.metadata_etags, name) == getattr(before.metadata_etags, name)
    assert after != before


async def test_one_users_session_says_nothing_about_another(service: Service, subject: Subject) -> None:
    """A user id in a request to a frontend's method of the user is not even read."""
    other = await service.user(unsafe_metadata={"theme": "light"})
    path = f"{FRONTEND}MergeUserMetadata"
    request = sample(path, subject).SerializeToString()
    for number in free_numbers(path):
        request += length_delimited(number, other.id.encode())
    await service.raw(path, request, bearer(subject.session))
    assert await service.get(other.id) == other


async def test_output_only_fields_of_a_backends_user_are_not_taken(service: Service) -> None:
    given = BackendUser(id="user_mine", etag="mine", username=f"{MARK}-output-only")
    given.create_time.seconds = 1
    given.metadata_etags.public_metadata = "mine"
    made = (await service.admin.CreateUser(backend_pb.CreateUserRequest(user=given))).user
    assert made.id != "user_mine"
    assert "mine" not in {made.etag, made.metadata_etags.public_metadata}
    assert made.create_time.seconds > 1
