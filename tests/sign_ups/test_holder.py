"""What the holder of a sign-up token does with it: begin, read, correct."""

from collections.abc import Mapping
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.sign_ups.support import MISSING, READY, begin, email_address
from tests.support import FRONTEND, Service, bearer, document, refused, request_id, struct
from usermeta.backend.v1.sign_up_pb2 import SignUp as BackendSignUp
from usermeta.frontend.v1 import frontend_service_pb2 as pb
from usermeta.frontend.v1.sign_up_pb2 import SignUp
from usermeta_server.store.contract import Draft, Reads
from usermeta_server.values import Json

TOO_MUCH: Mapping[str, Mapping[str, Json]] = {
    "METADATA_TOO_LARGE": {"a": "x" * 8192},
    "METADATA_KEY_INVALID": {"": 1},
    "METADATA_STRING_INVALID": {"a": "\0"},
    "NUMBER_NOT_REPRESENTABLE": {"a": 2.0**53},
    "METADATA_TOO_DEEP": {"a": [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]},
}
"""A document for each limit, that passes it."""


async def test_a_sign_up_shows_what_was_given_and_what_is_missing(service: Service) -> None:
    given = {"username": email_address(), "first_name": "Ada", "last_name": "L", "unsafe_metadata": {"a": [None, 1]}}
    pending = await begin(service, given)
    made = pending.first
    assert made.id.startswith("signup_")
    assert made.status == MISSING
    assert (list(made.required_fields), list(made.missing_fields)) == (["email_address"], ["email_address"])
    assert (made.username, made.first_name, made.last_name) == (given["username"], "Ada", "L")
    assert document(made.unsafe_metadata) == {"a": [None, 1]}
    assert made.create_time == made.update_time
    assert made.abandon_time.ToSeconds() - made.create_time.ToSeconds() == 24 * 3600
    assert made.etag
    assert not made.created_user_id
    assert await pending.seen() == made


async def test_a_sign_up_is_ready_once_nothing_is_missing(service: Service) -> None:
    pending = await begin(service, {})
    corrected = await pending.update({"email_address": email_address()})
    assert corrected.status == READY
    assert not corrected.missing_fields
    assert list(corrected.required_fields) == ["email_address"]


async def test_output_only_fields_are_ignored(service: Service) -> None:
    pending = await begin(
        service, {"id": "signup_mine", "created_user_id": "user_1", "etag": "mine", "email_address": email_address()}
    )
    assert pending.first.id != "signup_mine"
    assert pending.first.etag != "mine"
    assert not (await pending.update({"created_user_id": "user_1"})).created_user_id


async def test_what_only_a_backend_may_attach_cannot_be_smuggled_in(service: Service) -> None:
    """The backend's message, sent byte for byte to the frontend's methods, leaves nothing of what is not theirs."""
    forged = BackendSignUp(
        email_address=email_address(),
        email_address_verified=True,
        external_id=email_address(),
        public_metadata=struct({"plan": "pro"}),
        private_metadata=struct({"credits": 1}),
    )
    request = pb.UpdateSignUpRequest()
    request.sign_up.MergeFromString(forged.SerializeToString())
    body = request.SerializeToString()
    made = pb.CreateSignUpResponse.FromString(await service.raw(f"{FRONTEND}CreateSignUp", body))
    await service.raw(f"{FRONTEND}UpdateSignUp", body, bearer(made.sign_up_token))
    done = await service.frontend(made.sign_up_token).CompleteSignUp(pb.CompleteSignUpRequest())
    user = await service.get(done.user.id)
    assert user.email_address == forged.email_address
    assert (user.email_address_verified, user.external_id) == (False, "")
    assert (document(user.public_metadata), document(user.private_metadata)) == ({}, {})


@pytest.mark.parametrize("reason", TOO_MUCH)
async def test_documents_keep_the_limits_on_every_path(service: Service, reason: str) -> None:
    bad = SignUp(unsafe_metadata=struct(TOO_MUCH[reason]))
    refusal = await refused(service.frontend().CreateSignUp(pb.CreateSignUpRequest(sign_up=bad)), reason)
    assert refusal.fields == ("sign_up.unsafe_metadata",)
    pending = await begin(service)
    refusal = await refused(pending.holder.UpdateSignUp(pb.UpdateSignUpRequest(sign_up=bad)), reason)
    assert refusal.fields == ("sign_up.unsafe_metadata",)
    assert await pending.seen() == pending.first


async def test_every_malformed_field_is_named(service: Service) -> None:
    bad = SignUp(email_address="nobody", username=" a", first_name="x" * 257)
    for call in (
        service.frontend().CreateSignUp(pb.CreateSignUpRequest(sign_up=bad)),
        (await begin(service)).holder.UpdateSignUp(pb.UpdateSignUpRequest(sign_up=bad)),
    ):
        refusal = await refused(call, "FIELD_INVALID")
        assert set(refusal.fields) == {"sign_up.email_address", "sign_up.username", "sign_up.first_name"}


@pytest.mark.parametrize("username", ["a\u00addmin", "\u200b", "\u3164", "\u202enimda"])
async def test_nobody_signs_up_as_another_in_disguise(service: Service, username: str) -> None:
    refusal = await refused(begin(service, {"username": username}), "FIELD_INVALID")
    assert refusal.fields == ("sign_up.username",)


async def test_a_sign_up_from_before_the_forms_of_today_is_mended_before_it_completes(service: Service) -> None:
    pending = await begin(service)
    store = service.server.app.store

    def age(draft: Draft) -> None:
        sign_up = draft.sign_ups.get(pending.id)
        assert sign_up is not None
        draft.sign_ups.put(pending.id, sign_up._replace(username="a\u00adda"))

    await store.write(Reads(sign_ups=(pending.id,)), age)
    refusal = await refused(pending.complete(), "FIELD_INVALID")
    assert refusal.fields == ("sign_up.username",)
    await pending.update({"username": f"ada-{pending.id}"})
    assert (await pending.complete()).user.username == f"ada-{pending.id}"


async def test_a_value_without_a_kind_is_refused(service: Service) -> None:
    bad = SignUp()
    bad.unsafe_metadata.fields["a"].SetInParent()
    refusal = await refused(service.frontend().CreateSignUp(pb.CreateSignUpRequest(sign_up=bad)), "FIELD_INVALID")
    assert refusal.metadata["path"] == "/a"


async def test_without_a_mask_what_is_populated_changes(service: Service) -> None:
    pending = await begin(service, {"first_name": "Ada", "last_name": "B", "unsafe_metadata": {"a": 1}})
    after = await pending.update({"last_name": "Lovelace"})
    assert (after.first_name, after.last_name, document(after.unsafe_metadata)) == ("Ada", "Lovelace", {"a": 1})


async def test_a_document_is_replaced_whole(service: Service) -> None:
    pending = await begin(service, {"unsafe_metadata": {"a": {"b": 1, "c": 2}, "d": 3}})
    assert document((await pending.update({"unsafe_metadata": {"a": {"b": None}}})).unsafe_metadata) == {
        "a": {"b": None}
    }
    assert document((await pending.update({"unsafe_metadata": {}})).unsafe_metadata) == {}


async def test_masked_and_empty_is_unset(service: Service) -> None:
    pending = await begin(service, {"first_name": "Ada", "last_name": "B", "unsafe_metadata": {"a": 1}})
    masked = FieldMask(paths=["first_name", "unsafe_metadata"])
    after = await pending.update({"last_name": "not in the mask"}, update_mask=masked)
    assert (after.first_name, after.last_name, document(after.unsafe_metadata)) == ("", "B", {})
    after = await pending.update({"username": "u"}, update_mask=FieldMask(paths=["*"]))
    assert (after.username, after.last_name) == ("u", "")


@pytest.mark.parametrize(
    "path", ["public_metadata", "private_metadata", "external_id", "email_address_verified", "id", "status", "nothing"]
)
async def test_a_mask_names_only_what_its_holder_may_change(service: Service, path: str) -> None:
    pending = await begin(service)
    refusal = await refused(pending.update({}, update_mask=FieldMask(paths=[path])), "FIELD_INVALID")
    assert refusal.fields == ("update_mask",)
    assert "external_id" not in refusal.message.removeprefix(f"update_mask: '{path}'")


async def test_an_update_that_changes_nothing_keeps_etag_and_times(service: Service) -> None:
    pending = await begin(service, {"first_name": "Ada", "unsafe_metadata": {"a": 1}})
    assert await pending.update({"first_name": "Ada", "unsafe_metadata": {"a": 1.0}}) == pending.first
    assert await pending.update({}) == pending.first


async def test_an_update_moves_etag_and_times(service: Service) -> None:
    pending = await begin(service)
    after = await pending.update({"unsafe_metadata": {"a": True}})
    assert after.etag != pending.first.etag
    assert after.update_time.ToMicroseconds() > pending.first.update_time.ToMicroseconds()
    assert after.abandon_time.ToMicroseconds() - after.update_time.ToMicroseconds() == 24 * 3600 * 1_000_000
    assert after.create_time == pending.first.create_time
    back = await pending.update({"unsafe_metadata": {}})
    assert back.etag not in {after.etag, pending.first.etag}


async def test_an_update_with_an_old_etag_writes_nothing(service: Service) -> None:
    pending = await begin(service)
    after = await pending.update({"first_name": "Ada"}, expected_etag=pending.first.etag)
    refusal = await refused(pending.update({"first_name": "Eve"}, expected_etag=pending.first.etag), "ETAG_MISMATCH")
    assert refusal.metadata == {"sign_up": after.etag}
    assert await pending.seen() == after
    refusal = await refused(pending.complete(expected_etag=pending.first.etag), "ETAG_MISMATCH")
    assert refusal.metadata == {"sign_up": after.etag}
    assert (await pending.complete(expected_etag=after.etag)).user.first_name == "Ada"


async def test_the_etag_is_checked_before_the_limits(service: Service) -> None:
    pending = await begin(service)
    await refused(pending.update({"unsafe_metadata": {"a": "x" * 9000}}, expected_etag="old"), "ETAG_MISMATCH")


# request_id and validate_only


async def test_an_anonymous_creation_takes_no_request_id(service: Service) -> None:
    request = pb.CreateSignUpRequest(request_id=request_id())
    refusal = await refused(service.frontend().CreateSignUp(request), "FIELD_INVALID")
    assert refusal.fields == ("request_id",)


async def test_a_replayed_update_writes_nothing_and_returns_the_sign_up_as_it_is(service: Service) -> None:
    pending = await begin(service)
    again: dict[str, Any] = {"request_id": request_id()}
    await pending.update({"first_name": "Ada"}, **again)
    later = await pending.update({"first_name": "Grace"})
    assert await pending.update({"first_name": "Ada"}, **again) == later
    assert await pending.seen() == later


async def test_a_request_id_is_for_one_request(service: Service) -> None:
    pending = await begin(service)
    again = request_id()
    later = await pending.update({"first_name": "Ada"}, request_id=again)
    await refused(pending.update({"first_name": "Eve"}, request_id=again), "REQUEST_ID_REUSED")
    await refused(pending.complete(request_id=again), "REQUEST_ID_REUSED")
    assert await pending.seen() == later


async def test_request_ids_of_two_sign_ups_never_meet(service: Service) -> None:
    first, second = await begin(service), await begin(service)
    again: dict[str, Any] = {"request_id": request_id()}
    await first.update({"first_name": "Ada"}, **again)
    assert (await second.update({"first_name": "Grace"}, **again)).first_name == "Grace"


async def test_a_creation_on_trial_makes_nothing(service: Service) -> None:
    address = email_address()
    request = pb.CreateSignUpRequest(sign_up=SignUp(email_address=address), validate_only=True)
    tried = await service.frontend().CreateSignUp(request)
    assert (tried.sign_up.status, tried.sign_up.email_address) == (READY, address)
    assert not tried.sign_up_token
    assert not tried.sign_up.id
    assert not tried.sign_up.etag
    assert not any(tried.sign_up.HasField(name) for name in ("create_time", "update_time", "abandon_time"))
    request.sign_up.unsafe_metadata.update({"a": "x" * 9000})
    await refused(service.frontend().CreateSignUp(request), "METADATA_TOO_LARGE")


async def test_an_update_on_trial_changes_nothing(service: Service) -> None:
    pending = await begin(service, {})
    again = request_id()
    tried = await pending.update({"email_address": email_address()}, validate_only=True, request_id=again)
    assert tried.status == READY
    assert await pending.seen() == pending.first
    assert (await pending.update({"first_name": "Ada"}, request_id=again)).first_name == "Ada"
    await refused(pending.update({"first_name": "A"}, validate_only=True, expected_etag="old"), "ETAG_MISMATCH")


async def test_creating_needs_no_credential_and_takes_no_other(service: Service) -> None:
    user = await service.user()
    pending = await begin(service)
    for token in (await service.session(user.id), pending.token, service.admin_key, "nonsense"):
        refusal = await refused(service.frontend(token).CreateSignUp(pb.CreateSignUpRequest()), "CREDENTIAL_INVALID")
        assert refusal.code is grpc.StatusCode.UNAUTHENTICATED
