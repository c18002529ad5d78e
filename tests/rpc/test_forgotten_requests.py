"""What names an erased user is forgotten with it: the same request then counts as new."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.rpc.methods import MUTATING, Subject, call, credential, new_subject, sample
from tests.rpc.outside import trusted
from tests.rpc.requests import merge, patch
from tests.sign_ups.support import begin
from tests.support import (
    BACKEND,
    BACKEND_CALLER,
    FRONTEND,
    Service,
    bearer,
    document,
    refused,
    request_id,
    serving,
    settings,
)
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta_server.core.writes import Intent
from usermeta_server.model import Actor

ABOUT_A_USER = [
    f"{service}{method}"
    for service, methods in (
        (
            BACKEND,
            (
                "UpdateUser",
                "MergeUserMetadata",
                "ReplaceUserMetadata",
                "PatchUserMetadata",
                "BatchMergeUserMetadata",
                "RestoreUserMetadata",
                "CreateSessionToken",
            ),
        ),
        (FRONTEND, ("UpdateUser", "MergeUserMetadata", "ReplaceUserMetadata", "PatchUserMetadata")),
    )
    for method in methods
]
"""The mutating methods whose sample names the subject's user, but for the one that erases it."""


async def erase(service: Service, user_id: str, request_id: str = "") -> None:
    """Erase a user."""
    await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=user_id, request_id=request_id))


async def make(service: Service, user_id: str) -> User:
    """Make a user with this id."""
    return (await service.admin.CreateUser(pb.CreateUserRequest(user_id=user_id))).user


def remembered(database: Path) -> list[tuple[str, str]]:
    """Return methods and principals of the remembered requests; of those that find them none may be left over."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        (left_over,) = connection.execute(
            "SELECT count(*) FROM request_users WHERE number NOT IN (SELECT number FROM requests)"
        ).fetchone()
        assert left_over == 0
        return connection.execute("SELECT method, principal FROM requests ORDER BY number").fetchall()


async def test_a_merge_is_done_again_on_the_user_that_has_the_id_next(service: Service) -> None:
    """Whether it changed anything or not."""
    user = await service.user(public_metadata={"plan": "pro"})
    requests = [merge(user.id, public_metadata={name: value}) for name, value in (("plan", "pro"), ("n", 1))]
    for request in requests:
        request.request_id = request_id()
        await service.admin.MergeUserMetadata(request)
    await erase(service, user.id)
    await make(service, user.id)
    for request in requests:
        await service.admin.MergeUserMetadata(request)
    assert document((await service.get(user.id)).public_metadata) == {"plan": "pro", "n": 1}


@pytest.mark.parametrize("path", ABOUT_A_USER)
async def test_a_request_that_names_the_user_is_forgotten(tmp_path: Path, path: str) -> None:
    async with serving(settings(tmp_path, issuers=trusted(tmp_path))) as service:
        subject = await new_subject(service)
        request = sample(path, subject, request_id=request_id())
        await call(service, path, request, bearer(credential(service, path, subject)))
        assert len(remembered(service.database)) == 1
        await erase(service, subject.user_id)
        assert remembered(service.database) == []


def test_every_method_about_a_user_is_here() -> None:
    """The other mutating methods are about something else, or make a user, or erase it."""
    others = {path.rpartition("/")[2] for path in set(MUTATING) - set(ABOUT_A_USER)}
    assert {name for name in others if "User" in name} == {"CreateUser", "DeleteUser"}


async def test_making_a_user_is_done_again(service: Service) -> None:
    for user_id in ("", "user_made-again"):
        request = pb.CreateUserRequest(user_id=user_id, request_id=request_id())
        first = (await service.admin.CreateUser(request)).user
        assert (await service.admin.CreateUser(request)).user == first
        await erase(service, first.id)
        again = (await service.admin.CreateUser(request)).user
        assert (again.id == first.id) == bool(user_id)
        assert again.etag != first.etag
        await erase(service, again.id)


async def test_a_batch_is_forgotten_with_any_of_its_users_also_where_its_item_failed(service: Service) -> None:
    both = pb.BatchMergeUserMetadataRequest(request_id=request_id())
    stays, goes = await service.user(), await service.user()
    both.requests.append(merge(stays.id, public_metadata={"a": 1}))
    failing = merge(goes.id, public_metadata={"a": 1})
    failing.expected_etags.public_metadata = "another"
    both.requests.append(failing)
    await service.admin.BatchMergeUserMetadata(both)
    await service.admin.MergeUserMetadata(merge(stays.id, public_metadata={"a": 2}))
    await service.admin.BatchMergeUserMetadata(both)
    assert document((await service.get(stays.id)).public_metadata) == {"a": 2}
    await erase(service, goes.id)
    await service.admin.BatchMergeUserMetadata(both)
    assert document((await service.get(stays.id)).public_metadata) == {"a": 1}


async def test_the_sign_up_that_made_the_user_keeps_no_requests_either(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as service:
        pending, other = await begin(service), await begin(service)
        for each in (pending, other):
            await each.update({"first_name": "Ada"}, request_id=request_id())
        user_id = (await pending.complete(request_id=request_id())).user.id
        await pending.attest(request_id=request_id())
        await erase(service, user_id)
        assert [principal for _, principal in remembered(service.database)] == [f"sign_up:{other.id}"]


async def test_erasing_again_with_its_request_id_succeeds_and_erases_nobody_else(service: Service) -> None:
    """That the user was erased is remembered for those who did not hear of it, until its id is erased once more."""
    user, used = await service.user(), request_id()
    await erase(service, user.id, request_id=used)
    await erase(service, user.id, request_id=used)
    again = await make(service, user.id)
    await erase(service, user.id, request_id=used)
    assert await service.get(user.id) == again
    await erase(service, user.id)
    await refused(erase(service, user.id, request_id=used), "USER_NOT_FOUND")


async def test_what_others_asked_for_stays_remembered(service: Service, subject: Subject) -> None:
    change = patch(subject.user_id, public_metadata=[{"op": "increment", "path": "/n", "value": 1}])
    change.request_id = request_id()
    await service.admin.PatchUserMetadata(change)
    await erase(service, (await service.user()).id)
    reply = await service.admin.PatchUserMetadata(change)
    assert document(reply.user.public_metadata)["n"] == 1


async def test_in_one_commit_only_what_came_before_is_forgotten(tmp_path: Path) -> None:
    """A request for the user, its end, another of that id, and a request for that one: the last is remembered."""
    async with serving(settings(tmp_path)) as service:
        user = await service.user()
        use_cases, actor = service.server.app.use_cases, Actor("backend", "secret_key:key_1")
        first, last = request_id(), request_id()

        await asyncio.gather(
            use_cases.sessions.create(user.id, 1_000_000, Intent(actor, "CreateSessionToken", first, b"first")),
            use_cases.users.delete(user.id, "", Intent(actor, "DeleteUser")),
            use_cases.users.create(BACKEND_CALLER, ({}, {}), user.id, Intent(actor, "CreateUser")),
            use_cases.sessions.create(user.id, 1_000_000, Intent(actor, "CreateSessionToken", last, b"last")),
        )
        with closing(sqlite3.connect(f"file:{service.database}?mode=ro", uri=True)) as connection:
            kept = connection.execute("SELECT request_id FROM requests").fetchall()
        assert kept == [(last,)]
