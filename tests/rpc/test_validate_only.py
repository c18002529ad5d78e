"""`validate_only` of every mutating RPC: a trial makes all checks and has no effect."""

from typing import Any, Final

import pytest

from tests.rpc.inspection import SHOWN_ONCE, fields, rows
from tests.rpc.methods import MUTATING, Subject, call, credential, sample, user_of
from tests.rpc.requests import merge, patch
from tests.support import FRONTEND, Service, bearer, document, refused, request_id
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User


@pytest.mark.parametrize("path", MUTATING)
async def test_a_trial_has_no_effect(service: Service, subject: Subject, path: str) -> None:
    metadata = bearer(credential(service, path, subject))
    before, seen = rows(service.database), await service.get(subject.user_id)
    response = await call(service, path, sample(path, subject, validate_only=True, request_id=request_id()), metadata)
    assert rows(service.database) == before
    assert await service.get(subject.user_id) == seen
    await call(service, f"{FRONTEND}GetUser", sample(f"{FRONTEND}GetUser", subject), bearer(subject.session))
    assert not [name for name, _ in fields(response) if name in {*SHOWN_ONCE, "expire_time"}]


@pytest.mark.parametrize("path", MUTATING)
async def test_a_trial_remembers_nothing(service: Service, subject: Subject, path: str) -> None:
    """The same request, in earnest, is carried out afterwards."""
    metadata = bearer(credential(service, path, subject))
    request: Any = sample(path, subject, validate_only=True, request_id=request_id())
    await call(service, path, request, metadata)
    before = rows(service.database, "requests")
    request.validate_only = False
    await call(service, path, request, metadata)
    assert rows(service.database, "requests") != before or path.endswith("CreateSessionToken")


async def test_a_trial_of_a_new_user_says_what_it_would_be_without_what_only_a_write_makes(
    service: Service,
) -> None:
    user = User(username="On-Trial", first_name="Ada", email_address="on-trial@example.com")
    user.private_metadata.update({"a": [1]})
    reply = await service.admin.CreateUser(pb.CreateUserRequest(user=user, validate_only=True))
    shown = {name: value for name, value in fields(reply.user) if not name.endswith("_metadata")}
    assert shown.keys() - {"metadata_etags"} == {"username", "first_name", "email_address"}
    assert document(reply.user.private_metadata) == {"a": [1]}


TRIED: Final = [path for path in MUTATING if path.endswith(("Metadata", "UpdateUser")) and "Batch" not in path]


@pytest.mark.parametrize("path", TRIED)
async def test_a_trial_returns_what_the_write_returns_but_for_new_etags_and_times(
    service: Service, subject: Subject, path: str
) -> None:
    metadata = bearer(credential(service, path, subject))
    before = await call(
        service, path.rpartition("/")[0] + "/GetUser", sample(path.rpartition("/")[0] + "/GetUser", subject), metadata
    )
    tried = user_of(await call(service, path, sample(path, subject, validate_only=True), metadata))
    done = user_of(await call(service, path, sample(path, subject), metadata))
    made = {name: value for name, value in fields(done) if value != dict(fields(user_of(before))).get(name)}
    blank = {name for name in made if name == "etag" or name.startswith("metadata_etags.")}
    assert blank
    for name in blank:
        assert name not in dict(fields(tried))
    for user in (tried, done):
        user.ClearField("etag")
        user.ClearField("metadata_etags")
        user.ClearField("update_time")
    assert tried == done


async def test_a_trial_of_a_batch_says_what_each_item_would_be(service: Service, subject: Subject) -> None:
    request = pb.BatchMergeUserMetadataRequest(validate_only=True)
    request.requests.append(merge(subject.user_id, public_metadata={"a": 1}))
    request.requests.append(merge("user_nobody", public_metadata={"a": 1}))
    request.requests.append(merge(subject.user_id, public_metadata={"b": 2}))
    first, second, third = (await service.admin.BatchMergeUserMetadata(request)).results
    assert document(first.user.public_metadata) == {"plan": "pro", "a": 1}
    assert second.HasField("status")
    assert document(third.user.public_metadata) == {"plan": "pro", "a": 1, "b": 2}


async def test_a_trial_makes_all_checks(service: Service, subject: Subject) -> None:
    change = merge(subject.user_id, public_metadata={"big": "x" * 9000})
    change.validate_only = True
    await refused(service.admin.MergeUserMetadata(change), "METADATA_TOO_LARGE")
    stale = merge(subject.user_id, public_metadata={"a": 1})
    stale.validate_only, stale.expected_etags.unsafe_metadata = True, "stale"
    await refused(service.admin.MergeUserMetadata(stale), "ETAG_MISMATCH")
    taken = User(username=f"taken-{subject.user_id}")
    await service.admin.CreateUser(pb.CreateUserRequest(user=taken))
    await refused(service.admin.CreateUser(pb.CreateUserRequest(user=taken, validate_only=True)), "IDENTIFIER_TAKEN")
    gone = pb.DeleteUserRequest(user_id="user_nobody", validate_only=True)
    await refused(service.admin.DeleteUser(gone), "USER_NOT_FOUND")


async def test_a_trial_with_an_id_that_was_used_for_another_request_is_refused(
    service: Service, subject: Subject
) -> None:
    change = merge(subject.user_id, public_metadata={"a": 1})
    change.request_id = request_id()
    await service.admin.MergeUserMetadata(change)
    change.validate_only, change.user_id = True, "user_other"
    await refused(service.admin.MergeUserMetadata(change), "REQUEST_ID_REUSED")


async def test_a_trial_of_what_was_done_returns_the_user_as_it_is(service: Service, subject: Subject) -> None:
    change = patch(subject.user_id, public_metadata=[{"op": "increment", "path": "/n", "value": 1}])
    change.request_id = request_id()
    done = (await service.admin.PatchUserMetadata(change)).user
    change.validate_only = True
    assert (await service.admin.PatchUserMetadata(change)).user == done
