"""What a backend does with sign-ups, and that their holders see none of it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.sign_ups.support import COMPLETE, READY, REJECTED, Fields, begin, email_address
from tests.support import Service, document, refused, request_id, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.sign_up_pb2 import SignUp
from usermeta.frontend.v1.sign_up_pb2 import SignUp as FrontendSignUp
from usermeta_server.model import Scope

MARK = "kept-out-of-sight"


def attachments() -> dict[str, Any]:
    """Return everything that only a backend may attach."""
    return {
        "external_id": f"{MARK}|{email_address()}",
        "email_address_verified": True,
        "public_metadata": {MARK: 1},
        "private_metadata": {"a": MARK},
    }


async def test_what_a_backend_attaches_becomes_the_users(service: Service) -> None:
    pending = await begin(service)
    given = attachments()
    after = await pending.attach(given)
    assert (after.external_id, after.email_address_verified) == (given["external_id"], True)
    assert document(after.public_metadata) == given["public_metadata"]
    assert await pending.known() == after
    user = await service.get((await pending.complete()).user.id)
    assert (user.external_id, user.email_address_verified) == (given["external_id"], True)
    assert document(user.public_metadata) == given["public_metadata"]
    assert document(user.private_metadata) == given["private_metadata"]


async def test_the_holder_sees_nothing_of_it(service: Service) -> None:
    """Not the values, and no etag or time that moves."""
    pending = await begin(service)
    for name, value in attachments().items():
        before = await pending.known()
        after = await pending.attach({name: value})
        assert after.etag != before.etag
        assert after.update_time.ToMicroseconds() > before.update_time.ToMicroseconds()
        assert after.abandon_time == before.abandon_time
        seen = await pending.seen()
        assert seen == pending.first
        assert MARK.encode() not in seen.SerializeToString()
    assert await pending.update({}, expected_etag=pending.first.etag) == pending.first


async def test_no_message_of_the_frontend_has_a_field_for_it() -> None:
    hidden = {"external_id", "email_address_verified", "public_metadata", "private_metadata"}
    assert hidden.isdisjoint(FrontendSignUp.DESCRIPTOR.fields_by_name)
    assert {*FrontendSignUp.DESCRIPTOR.fields_by_name, *hidden} == set(SignUp.DESCRIPTOR.fields_by_name)


async def test_what_a_backend_changes_of_the_rest_its_holder_sees(service: Service) -> None:
    pending = await begin(service)
    after = await pending.attach({"first_name": "Ada", "unsafe_metadata": {"a": 1}})
    seen = await pending.seen()
    assert (seen.first_name, document(seen.unsafe_metadata)) == ("Ada", {"a": 1})
    assert seen.etag not in {pending.first.etag, after.etag}
    assert (seen.update_time, seen.abandon_time) == (after.update_time, after.abandon_time)


async def test_the_two_audiences_have_etags_of_their_own(service: Service) -> None:
    pending = await begin(service)
    known = await pending.attach({"private_metadata": {"a": 1}})
    refusal = await refused(pending.attach({"first_name": "A"}, expected_etag=pending.first.etag), "ETAG_MISMATCH")
    assert refusal.metadata == {"sign_up": known.etag}
    await refused(pending.update({"first_name": "A"}, expected_etag=known.etag), "ETAG_MISMATCH")
    await refused(pending.reject(expected_etag=pending.first.etag), "ETAG_MISMATCH")
    assert (await pending.attach({"first_name": "A"}, expected_etag=known.etag)).first_name == "A"


async def test_another_address_is_not_verified(service: Service) -> None:
    pending = await begin(service, {"email_address": f"Ada.{email_address()}"})
    await pending.attach({"email_address_verified": True})
    await pending.update({"email_address": pending.first.email_address.upper()})
    assert (await pending.known()).email_address_verified, "the same address, written otherwise"
    await pending.update({"email_address": email_address()})
    assert not (await pending.known()).email_address_verified
    both: Fields = {"email_address": email_address(), "email_address_verified": True}
    assert (await pending.attach(both)).email_address_verified, "the same update says so"
    await pending.update({}, update_mask=FieldMask(paths=["email_address"]))
    assert not (await pending.known()).email_address_verified


async def test_masked_and_empty_is_unset(service: Service) -> None:
    pending = await begin(service)
    await pending.attach(attachments())
    mask = FieldMask(paths=["external_id", "email_address_verified", "private_metadata"])
    after = await pending.attach({"public_metadata": {"not": "in the mask"}}, update_mask=mask)
    assert (after.external_id, after.email_address_verified, document(after.private_metadata)) == ("", False, {})
    assert document(after.public_metadata) == {MARK: 1}
    refusal = await refused(pending.attach({}, update_mask=FieldMask(paths=["created_user_id"])), "FIELD_INVALID")
    assert refusal.fields == ("update_mask",)


@pytest.mark.parametrize("name", ["public_metadata", "private_metadata", "unsafe_metadata"])
async def test_each_document_keeps_the_limits(service: Service, name: str) -> None:
    pending = await begin(service)
    refusal = await refused(pending.attach({name: {"a": "x" * 8192}}), "METADATA_TOO_LARGE")
    assert refusal.fields == (f"sign_up.{name}",)
    refusal = await refused(pending.attach({"external_id": "x" * 257}), "FIELD_INVALID")
    assert refusal.fields == ("sign_up.external_id",)
    assert await pending.seen() == pending.first


async def test_replays_and_trials_write_nothing(service: Service) -> None:
    pending = await begin(service)
    again = request_id()
    before = await pending.known()
    tried = await pending.attach(attachments(), validate_only=True, request_id=again)
    assert tried.email_address_verified
    assert await pending.known() == before
    await pending.attach({"external_id": again}, request_id=again)
    later = await pending.attach({"private_metadata": {"a": 2}})
    assert await pending.attach({"external_id": again}, request_id=again) == later
    assert (await pending.reject(validate_only=True)).status == REJECTED
    assert await pending.known() == later


async def test_rejecting_closes_for_good(service: Service) -> None:
    pending = await begin(service, {"email_address": email_address(), "unsafe_metadata": {"a": 1}})
    await pending.attach(attachments())
    again = request_id()
    rejected = await pending.reject(request_id=again)
    assert rejected.status == REJECTED
    documents = (rejected.public_metadata, rejected.private_metadata, rejected.unsafe_metadata)
    assert [document(each) for each in documents] == [{}, {}, {}]
    assert await pending.reject(request_id=again) == await pending.reject() == rejected
    seen = await pending.seen()
    assert (seen.status, list(seen.missing_fields)) == (REJECTED, [])
    for call in (pending.update({"first_name": "A"}), pending.complete(), pending.attach({}), pending.attest()):
        assert (await refused(call, "SIGN_UP_CLOSED")).metadata == {"status": "REJECTED"}


async def test_what_is_missing_is_told_before_anything_else(service: Service) -> None:
    stub = service.admin
    for call in (
        stub.GetSignUp(pb.GetSignUpRequest(sign_up_id="signup_none")),
        stub.UpdateSignUp(pb.UpdateSignUpRequest(sign_up_id="signup_none", expected_etag="old")),
        stub.CompleteSignUp(pb.CompleteSignUpRequest(sign_up_id="signup_none", expected_etag="old")),
        stub.RejectSignUp(pb.RejectSignUpRequest(sign_up_id="signup_none", expected_etag="old")),
    ):
        await refused(call, "SIGN_UP_NOT_FOUND")
    for call in (
        stub.GetSignUp(pb.GetSignUpRequest()),
        stub.UpdateSignUp(pb.UpdateSignUpRequest()),
        stub.CompleteSignUp(pb.CompleteSignUpRequest()),
        stub.RejectSignUp(pb.RejectSignUpRequest()),
    ):
        assert (await refused(call, "FIELD_INVALID")).fields == ("sign_up_id",)


async def test_reading_needs_read_and_the_rest_needs_write(service: Service) -> None:
    pending = await begin(service)
    reader = service.backend(await service.key(Scope.READ))
    assert (await reader.GetSignUp(pb.GetSignUpRequest(sign_up_id=pending.id))).sign_up.id == pending.id
    assert (await reader.ListSignUps(pb.ListSignUpsRequest(page_size=1))).sign_ups
    for call in (
        reader.UpdateSignUp(pb.UpdateSignUpRequest(sign_up_id="signup_none", validate_only=True)),
        reader.CompleteSignUp(pb.CompleteSignUpRequest(sign_up_id="signup_none")),
        reader.RejectSignUp(pb.RejectSignUpRequest()),
    ):
        await refused(call, "SCOPE_INSUFFICIENT")


async def test_a_list_holds_each_sign_up_once_oldest_first(own_service: Service) -> None:
    made = [await begin(own_service, {"unsafe_metadata": {"a": index}}) for index in range(7)]
    await made[1].reject()
    await made[2].update({"email_address": email_address()})
    await made[2].complete()
    listed: list[SignUp] = []
    request = pb.ListSignUpsRequest(page_size=3)
    sizes = []
    while True:
        page = await own_service.admin.ListSignUps(request)
        listed.extend(page.sign_ups)
        sizes.append(len(page.sign_ups))
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert sizes == [3, 3, 1]
    assert sorted(each.id for each in listed) == [each.id for each in listed]
    assert {each.id for each in listed} == {each.id for each in made}
    by_id = {each.id: each for each in listed}
    assert (by_id[made[1].id].status, by_id[made[2].id].status) == (REJECTED, COMPLETE)
    assert by_id[made[3].id] == await made[3].known()
    for bad in ("x", request.page_token[:-1]):
        await refused(own_service.admin.ListSignUps(pb.ListSignUpsRequest(page_token=bad)), "PAGE_TOKEN_INVALID")


async def test_a_page_ends_early_rather_than_pass_3_mib(own_service: Service) -> None:
    big = {"a": [0] * 4000}
    made = await asyncio.gather(*(begin(own_service, {"unsafe_metadata": big}) for _ in range(90)))
    request = pb.ListSignUpsRequest(page_size=1000)
    seen: list[str] = []
    while True:
        page = await own_service.admin.ListSignUps(request)
        assert page.sign_ups
        assert page.ByteSize() <= 3 << 20
        seen.extend(each.id for each in page.sign_ups)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert request.page_token, "it took more than one page"
    assert sorted(each.id for each in made) == seen


# Attestation


async def test_where_attestation_is_asked_for_only_a_backend_completes(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, sign_up_completion="attested")) as service:
        pending = await begin(service)
        assert pending.first.status == READY
        await refused(pending.complete(), "SIGN_UP_NOT_ATTESTED")
        await refused(pending.complete(validate_only=True), "SIGN_UP_NOT_ATTESTED")
        assert await pending.seen() == pending.first
        made = (await pending.attest()).user
        done = await pending.complete()
        assert (done.user.id, bool(done.session_token)) == (made.id, True), "its holder gets their session"
        await refused((await begin(service, {})).attest(), "SIGN_UP_INCOMPLETE")
