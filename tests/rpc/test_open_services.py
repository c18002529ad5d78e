"""What needs no credential: profiles, as far as the operator lets them, health, and reflection."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.rpc.methods import call, new_subject, sample
from tests.support import DEADLINE, FRONTEND, Service, bearer, document, refused, serving, settings
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server.errors import RETRY_AFTER, Reason

PROFILE_METHODS: Final = (f"{FRONTEND}GetProfile", f"{FRONTEND}BatchGetProfiles")
WHO_MAY: Final = [
    ("anyone", {"": "OK", "session": "OK", "garbage": "CREDENTIAL_INVALID"}),
    ("signed_in", {"": "CREDENTIAL_MISSING", "session": "OK", "garbage": "CREDENTIAL_INVALID"}),
    ("off", {"": "ACCESS_DENIED", "session": "ACCESS_DENIED", "garbage": "CREDENTIAL_INVALID"}),
]


@pytest.mark.parametrize("path", PROFILE_METHODS)
@pytest.mark.parametrize(("profiles", "outcomes"), WHO_MAY)
async def test_profiles_are_shown_to_whom_the_setting_says(
    tmp_path: Path, path: str, profiles: str, outcomes: Mapping[str, str]
) -> None:
    async with serving(settings(tmp_path, profiles=profiles)) as service:
        subject = await new_subject(service)
        for credential, expected in outcomes.items():
            token = subject.session if credential == "session" else credential
            calling = call(service, path, sample(path, subject), bearer(token))
            if expected == "OK":
                await calling
            else:
                await refused(calling, expected)


async def test_a_profile_is_what_anyone_may_see(service: Service) -> None:
    user = await service.user(
        username="Profiled",
        first_name="Ada",
        last_name="Lovelace",
        image_url="https://example.com/ada.png",
        email_address="profiled@example.com",
        public_metadata={"plan": "pro"},
        private_metadata={"credits": 10},
        unsafe_metadata={"theme": "dark"},
    )
    reply = await service.frontend().GetProfile(frontend_pb.GetProfileRequest(user_id=user.id))
    expected = frontend_pb.GetProfileResponse().profile
    expected.user_id = user.id
    for name in ("username", "first_name", "last_name", "image_url"):
        setattr(expected, name, getattr(user, name))
    expected.public_metadata.CopyFrom(user.public_metadata)
    assert reply.profile == expected


async def test_a_profile_shows_a_change_at_once(service: Service) -> None:
    user = await service.user(public_metadata={"plan": "free"})
    request = frontend_pb.GetProfileRequest(user_id=user.id)
    await service.frontend().GetProfile(request)
    path = "/usermeta.backend.v1.BackendService/MergeUserMetadata"
    body = sample(path, (await new_subject(service))._replace(user_id=user.id))
    await call(service, path, body, bearer(service.admin_key))
    reply = await service.frontend().GetProfile(request)
    assert document(reply.profile.public_metadata) == {"plan": "free", "sample": "written"}


async def test_a_banned_user_still_has_a_profile(service: Service) -> None:
    user = await service.user(banned=True)
    reply = await service.frontend().GetProfile(frontend_pb.GetProfileRequest(user_id=user.id))
    assert reply.profile.user_id == user.id


async def test_there_is_no_profile_of_a_user_that_is_not_there(service: Service) -> None:
    await refused(service.frontend().GetProfile(frontend_pb.GetProfileRequest(user_id="user_no")), "USER_NOT_FOUND")
    refusal = await refused(service.frontend().GetProfile(frontend_pb.GetProfileRequest()), "FIELD_INVALID")
    assert refusal.fields == ("user_id",)


async def test_profiles_come_in_the_order_of_the_request(service: Service) -> None:
    users = [(await service.user()).id for _ in range(3)]
    asked = [users[2], "user_no", users[0], users[1]]
    reply = await service.frontend().BatchGetProfiles(frontend_pb.BatchGetProfilesRequest(user_ids=asked))
    assert [profile.user_id for profile in reply.profiles] == [users[2], users[0], users[1]]
    assert reply.missing_user_ids == ["user_no"]
    assert not reply.deferred_user_ids


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_of_profiles_has_1_to_100_ids(service: Service, count: int) -> None:
    request = frontend_pb.BatchGetProfilesRequest(user_ids=["user_no"] * count)
    refusal = await refused(service.frontend().BatchGetProfiles(request), "FIELD_INVALID")
    assert refusal.fields == ("user_ids",)


# Health


CHECK: Final = "/grpc.health.v1.Health/Check"
HEALTHY: Final = ("", "usermeta.backend.v1.BackendService", "usermeta.frontend.v1.FrontendService")


@pytest.mark.parametrize("name", HEALTHY)
async def test_health_needs_no_credential(service: Service, name: str) -> None:
    reply = await service.raw(CHECK, health_pb2.HealthCheckRequest(service=name).SerializeToString())
    assert health_pb2.HealthCheckResponse.FromString(reply).status == health_pb2.HealthCheckResponse.SERVING


async def test_health_does_not_know_other_services(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.raw(CHECK, health_pb2.HealthCheckRequest(service="nothing").SerializeToString())
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


WATCH: Final = "/grpc.health.v1.Health/Watch"
Reply = health_pb2.HealthCheckResponse


class HealthWatch:
    """A watch of health."""

    def __init__(self, service: Service, name: str = "") -> None:
        """Begin to watch a name."""
        method = service.channel.unary_stream(WATCH, request_serializer=bytes, response_deserializer=Reply.FromString)
        self.call = method(health_pb2.HealthCheckRequest(service=name).SerializeToString())

    async def next(self) -> int:
        """Return what it is told next."""
        reply = await asyncio.wait_for(self.call.read(), DEADLINE)
        assert isinstance(reply, Reply)
        return reply.status


async def test_a_watch_of_health_is_told_what_comes_and_what_changes(service: Service) -> None:
    watch, other = HealthWatch(service, "a.part"), HealthWatch(service, "a.part")
    assert await watch.next() == await other.next() == Reply.SERVICE_UNKNOWN
    service.server.health.set("a.part", serving=True)
    assert await watch.next() == await other.next() == Reply.SERVING
    other.call.cancel()
    service.server.health.set("a.part", serving=True)
    service.server.health.set("a.part", serving=False)
    assert await watch.next() == Reply.NOT_SERVING
    watch.call.cancel()


async def test_a_name_to_watch_is_not_kept_at_any_length(service: Service) -> None:
    body = health_pb2.HealthCheckRequest(service="x" * 257).SerializeToString()
    stream = service.channel.unary_stream(WATCH, request_serializer=bytes, response_deserializer=bytes)
    refusal = await refused(stream(body, timeout=DEADLINE).read(), "FIELD_INVALID")
    assert refusal.fields == ("service",)


async def test_streams_without_a_credential_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watches of health and streams of reflection together; where one ends there is room for another."""
    monkeypatch.setattr("usermeta_server.transports.grpc.server._MAX_OPEN_STREAMS", 3)
    async with serving(settings(tmp_path)) as service:
        watches = [HealthWatch(service) for _ in range(3)]
        assert [await watch.next() for watch in watches] == [Reply.SERVING] * 3
        refusal = await refused(HealthWatch(service).next(), "OVERLOADED")
        assert refusal.code is grpc.StatusCode.UNAVAILABLE
        assert refusal.metadata == {"limit": "3"}
        assert refusal.retry_after == RETRY_AFTER[Reason.OVERLOADED]
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        await refused(asked(service, listing), "OVERLOADED")
        await service.raw(CHECK, b"")
        watches[0].call.cancel()
        async with asyncio.timeout(DEADLINE):
            while len(service.server._grpc._streams._tasks) > 2:  # noqa: ASYNC110  # nothing says when
                await asyncio.sleep(0.001)
        await asked(service, listing)


# Malformed bodies


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x02\xc3\x28"])
@pytest.mark.parametrize("path", [CHECK, WATCH, "v1", "v1alpha"])
async def test_bytes_that_are_no_message_are_refused(service: Service, path: str, body: bytes) -> None:
    name = path if path.startswith("/") else f"/grpc.reflection.{path}.ServerReflection/ServerReflectionInfo"
    stream = service.channel.unary_stream(name, request_serializer=bytes, response_deserializer=bytes)
    refusal = await refused(stream(body, timeout=DEADLINE).read(), "FIELD_INVALID")
    assert refusal.fields == ("request",)


# Reflection


VERSIONS: Final = ("v1", "v1alpha")
Answer = reflection_pb2.ServerReflectionResponse


async def asked(service: Service, request: reflection_pb2.ServerReflectionRequest, version: str = "v1") -> Answer:
    """Ask reflection one question."""

    async def requests() -> AsyncIterator[bytes]:
        yield request.SerializeToString()

    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    ask = service.channel.stream_stream(path, request_serializer=bytes, response_deserializer=Answer.FromString)
    async for answer in ask(requests(), timeout=DEADLINE):
        return answer
    raise AssertionError


async def files_of(service: Service, symbol: str, version: str = "v1") -> set[str]:
    """Return the names of the files that reflection gives for a symbol."""
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
    answer = await asked(service, request, version)
    assert answer.original_request == request
    files = [FileDescriptorProto.FromString(each) for each in answer.file_descriptor_response.file_descriptor_proto]
    return {file.name for file in files}


@pytest.mark.parametrize("version", VERSIONS)
async def test_reflection_lists_our_services_without_a_credential(service: Service, version: str) -> None:
    answer = await asked(service, reflection_pb2.ServerReflectionRequest(list_services=""), version)
    listed = {each.name for each in answer.list_services_response.service}
    assert set(HEALTHY) - {""} < listed
    assert {f"grpc.reflection.{each}.ServerReflection" for each in VERSIONS} < listed
    for name in listed:
        assert await files_of(service, name, version)


SYMBOLS: Final = {
    "usermeta.frontend.v1.FrontendService": "usermeta/frontend/v1/frontend_service.proto",
    "usermeta.backend.v1.BackendService.CountUsers": "usermeta/backend/v1/backend_service.proto",
    "usermeta.backend.v1.User": "usermeta/backend/v1/user.proto",
    "usermeta.type.v1.PatchOperation.Op": "usermeta/type/v1/patch.proto",
    "usermeta.type.v1.PatchOperation.OP_ADD": "usermeta/type/v1/patch.proto",
    "grpc.reflection.v1.ServerReflection.ServerReflectionInfo": "grpc/reflection/v1/reflection.proto",
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("symbol", "file"), SYMBOLS.items())
async def test_reflection_finds_whatever_has_a_name(service: Service, symbol: str, file: str, version: str) -> None:
    assert file in await files_of(service, symbol, version)


@pytest.mark.parametrize("symbol", ["nothing", "usermeta.backend.v1.BackendService.Nothing", "no.Service.Method", ""])
async def test_reflection_says_what_it_does_not_find(service: Service, symbol: str) -> None:
    answer = await asked(service, reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol))
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_reflection_can_be_turned_off(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, reflection=False)) as service:
        for version in VERSIONS:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asked(service, reflection_pb2.ServerReflectionRequest(list_services=""), version)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
