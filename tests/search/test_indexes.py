"""Indexes on paths: built while the server goes on, kept up by every write, used only when complete, dropped whole."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.rpc.requests import merge, patch, replace
from tests.search.support import (
    BUILDING,
    READY,
    built,
    count,
    create_index,
    due_entries,
    everyone,
    kept_entries,
    put,
    states,
)
from tests.sign_ups.support import begin
from tests.support import USER, Service, refused, request_id, serving, settings, struct, until
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.document_pb2 import DOCUMENT_PUBLIC_METADATA
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server.app import open_app
from usermeta_server.core.writes import Intent
from usermeta_server.model import Actor, Document, IndexState
from usermeta_server.model import User as ModelUser
from usermeta_server.store.predicates import DocumentPath

PLAN: Final = "public_metadata.plan"
PLAN_PATH: Final = DocumentPath(Document.PUBLIC, ("plan",))
TAGS: Final = "public_metadata.tags"
TERMS: Final = "unsafe_metadata.terms"
INTENT: Final = Intent(Actor("operator", "test"), "test")


def some(number: int) -> list[ModelUser]:
    """Return so many users, every other one on the plan pro."""
    return [
        USER._replace(
            id=f"user_{place:04}", public_metadata=f'{{"plan":"{"pro" if place % 2 else "free"}","tags":["a",{place}]}}'
        )
        for place in range(number)
    ]


# Life


async def test_an_index_is_built_then_ready_then_gone(own: Service) -> None:
    await put(own.server.app.store, some(500))
    assert (await create_index(own, PLAN)).state == BUILDING
    assert PLAN in await states(own)
    await built(own, PLAN)
    assert len(kept_entries(own.database)) == 500
    assert kept_entries(own.database) == due_entries(own.database)
    await own.admin.DeleteMetadataIndex(pb.DeleteMetadataIndexRequest(path=PLAN))
    assert await states(own) == {}
    await until(lambda: not kept_entries(own.database))
    assert await count(own, f"{PLAN} = pro") == 250


async def test_indexes_are_listed_by_path_each_once_however_it_is_written(own: Service) -> None:
    for path in ('private_metadata."zip code"', PLAN, 'public_metadata."plan"', "public_metadata.'plan'"):
        await create_index(own, path)
    listed = await own.admin.ListMetadataIndexes(pb.ListMetadataIndexesRequest())
    assert [each.path for each in listed.metadata_indexes] == ['private_metadata."zip code"', PLAN]
    assert (await create_index(own, PLAN)).path == PLAN


async def test_an_index_that_exists_stays_as_it_is(own: Service) -> None:
    await create_index(own, PLAN)
    await built(own, PLAN)
    assert (await create_index(own, PLAN)).state == READY


async def test_what_does_not_exist_cannot_be_deleted(own: Service) -> None:
    await refused(own.admin.DeleteMetadataIndex(pb.DeleteMetadataIndexRequest(path=PLAN)), "METADATA_INDEX_NOT_FOUND")


async def test_an_index_that_is_made_anew_has_nothing_of_the_old_one(own: Service) -> None:
    await put(own.server.app.store, some(300))
    for _ in range(3):
        await create_index(own, PLAN)
        await own.admin.DeleteMetadataIndex(pb.DeleteMetadataIndexRequest(path=PLAN))
    await own.admin.DeleteUser(pb.DeleteUserRequest(user_id="user_0001"))
    await create_index(own, PLAN)
    await built(own, PLAN)
    assert await count(own, f"{PLAN} = pro") == 149
    await until(lambda: kept_entries(own.database) == due_entries(own.database))


# Repeating and trying


async def test_creating_and_deleting_can_be_repeated(own: Service) -> None:
    made, dropped = request_id(), request_id()
    for _ in range(2):
        assert (await create_index(own, PLAN, request_id=made)).path == PLAN
    other = pb.CreateMetadataIndexRequest(path=TAGS, request_id=made)
    await refused(own.admin.CreateMetadataIndex(other), "REQUEST_ID_REUSED")
    for _ in range(2):
        await own.admin.DeleteMetadataIndex(pb.DeleteMetadataIndexRequest(path=PLAN, request_id=dropped))
    assert await states(own) == {}
    replay = pb.CreateMetadataIndexRequest(path=PLAN, request_id=made)
    await refused(own.admin.CreateMetadataIndex(replay), "METADATA_INDEX_NOT_FOUND")


async def test_trying_changes_nothing(own: Service) -> None:
    assert (await create_index(own, PLAN, validate_only=True)).path == PLAN
    assert await states(own) == {}
    request = pb.DeleteMetadataIndexRequest(path=PLAN, validate_only=True)
    await refused(own.admin.DeleteMetadataIndex(request), "METADATA_INDEX_NOT_FOUND")
    await create_index(own, PLAN)
    await own.admin.DeleteMetadataIndex(request)
    assert PLAN in await states(own)


# Kept up


async def by_create(service: Service) -> None:
    await service.user(public_metadata={"plan": "new", "tags": ["x", {"y": 1}]})


async def by_create_with_an_id(service: Service) -> None:
    user = User(public_metadata=struct({"plan": None}))
    await service.admin.CreateUser(pb.CreateUserRequest(user=user, user_id="user_given"))


async def by_merge(service: Service) -> None:
    await service.admin.MergeUserMetadata(merge("user_0001", public_metadata={"plan": None, "tags": "one"}))


async def by_replace(service: Service) -> None:
    await service.admin.ReplaceUserMetadata(replace("user_0002", public_metadata={"plan": {"name": "pro"}}))


async def by_patch(service: Service) -> None:
    steps: list[dict[str, Any]] = [
        {"op": "add", "path": "/tags/0", "value": "b"},
        {"op": "replace", "path": "/plan", "value": 5},
    ]
    await service.admin.PatchUserMetadata(patch("user_0003", public_metadata=steps))


async def by_batch(service: Service) -> None:
    items = [merge(each, public_metadata={"plan": "batch"}) for each in ("user_0004", "user_nobody", "user_0005")]
    items.append(merge("user_0004", public_metadata={"plan": "batch again"}))
    await service.admin.BatchMergeUserMetadata(pb.BatchMergeUserMetadataRequest(requests=items))


async def by_a_frontend(service: Service) -> None:
    frontend = service.frontend(await service.session("user_0006"))
    await frontend.MergeUserMetadata(frontend_pb.MergeUserMetadataRequest(unsafe_metadata=struct({"terms": True})))


async def by_delete(service: Service) -> None:
    await service.admin.DeleteUser(pb.DeleteUserRequest(user_id="user_0007"))


async def by_sign_up(service: Service) -> None:
    pending = await begin(service, {"email_address": "new@example.com", "unsafe_metadata": {"terms": "agreed"}})
    await pending.attach({"public_metadata": {"plan": "signed up", "tags": ["s"]}})
    await pending.complete()


async def by_restore(service: Service) -> None:
    made = await service.user(public_metadata={"plan": "first"})
    await service.admin.MergeUserMetadata(merge(made.id, public_metadata={"plan": "second"}))
    changes = await service.admin.ListUserChanges(pb.ListUserChangesRequest(user_id=made.id))
    first = changes.changes[-1].change_id
    request = pb.RestoreUserMetadataRequest(user_id=made.id, change_id=first, documents=[DOCUMENT_PUBLIC_METADATA])
    await service.admin.RestoreUserMetadata(request)


async def by_profile(service: Service) -> None:
    await service.admin.UpdateUser(pb.UpdateUserRequest(user=User(id="user_0008", first_name="Ada", banned=True)))


WRITES: Final[list[Callable[[Service], Awaitable[None]]]] = [
    by_create,
    by_create_with_an_id,
    by_merge,
    by_replace,
    by_patch,
    by_batch,
    by_a_frontend,
    by_delete,
    by_sign_up,
    by_restore,
    by_profile,
]
FILTERS: Final = [f"{PLAN} = batch", f"{PLAN}:*", f"{TAGS}:b", f"{TAGS}:a", f"{TERMS} = true", f"-{PLAN} = pro"]


async def test_every_kind_of_write_keeps_indexes_up(own: Service) -> None:
    await put(own.server.app.store, some(20))
    for path in (PLAN, TAGS, TERMS):
        await create_index(own, path)
    await built(own, PLAN, TAGS, TERMS)
    kept = kept_entries(own.database)
    for write in WRITES:
        await write(own)
        before, kept = kept, kept_entries(own.database)
        assert kept == due_entries(own.database), write.__name__
        assert (kept != before) is (write is not by_profile), write.__name__
    found = [[each.id for each in await everyone(own, filter=text)] for text in FILTERS]
    for path in (PLAN, TAGS, TERMS):
        await own.admin.DeleteMetadataIndex(pb.DeleteMetadataIndexRequest(path=path))
    assert found == [[each.id for each in await everyone(own, filter=text)] for text in FILTERS]
    assert all(found)


async def test_writes_meet_an_index_that_is_half_built(tmp_path: Path) -> None:
    """What is written before the builder comes by, and behind its back, is in the index; what is deleted is not."""
    async with open_app(settings(tmp_path)) as app:
        await put(app.store, some(30))
        await app.use_cases.search.create_index(PLAN_PATH, INTENT)
        await app.store.build_indexes(10)
        await put(app.store, [each._replace(public_metadata='{"plan":"new"}') for each in some(30)[5:15]])
        await app.use_cases.users.delete("user_0002", "", INTENT)
        await app.use_cases.users.delete("user_0022", "", INTENT)
        assert [index.state for index in app.store.metadata_indexes()] == [IndexState.BUILDING]
        while await app.store.build_indexes(10):
            pass
        assert [index.state for index in app.store.metadata_indexes()] == [IndexState.READY]
        assert kept_entries(tmp_path / "usermeta.db") == due_entries(tmp_path / "usermeta.db")


# Restarts


@pytest.mark.usefixtures("quick_upkeep")
async def test_building_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with open_app(settings(tmp_path)) as app:
        await put(app.store, some(30))
        await app.use_cases.search.create_index(PLAN_PATH, INTENT)
        assert await app.store.build_indexes(10) == 10
    assert 0 < len(kept_entries(tmp_path / "usermeta.db")) < 30
    async with serving(settings(tmp_path)) as service:
        assert await count(service, f"{PLAN} = pro") == 15
        await built(service, PLAN)
        assert kept_entries(service.database) == due_entries(service.database)
        assert await count(service, f"{PLAN} = pro") == 15
    async with serving(settings(tmp_path)) as service:
        assert await states(service) == {PLAN: READY}


@pytest.mark.usefixtures("quick_upkeep")
async def test_dropping_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with open_app(settings(tmp_path)) as app:
        await put(app.store, some(30))
        await app.use_cases.search.create_index(PLAN_PATH, INTENT)
        while await app.store.build_indexes(10):
            pass
        await app.use_cases.search.delete_index(PLAN_PATH, INTENT)
        assert await app.store.build_indexes(10) == 10
    assert len(kept_entries(tmp_path / "usermeta.db")) == 20
    async with serving(settings(tmp_path)) as service:
        await until(lambda: not kept_entries(service.database))


# Results


@pytest.mark.parametrize("order", ["", PLAN, f"{PLAN} desc", "create_time", f"{TAGS}, id desc"])
async def test_pages_are_the_same_with_and_without_indexes(own: Service, order: str) -> None:
    await put(own.server.app.store, some(40))
    values: list[Any] = [None, True, 5, 5.5, [], {}]
    for value in values:
        await own.user(public_metadata={"plan": value})
    filters = ["", f"{PLAN} = pro", f"{PLAN} > 1", f"{TAGS}:a", f"{PLAN} != pro AND {TAGS}:*"]

    async def found() -> list[list[str]]:
        listed = [await everyone(own, filter=text, order_by=order, page_size=7) for text in filters]
        return [[each.id for each in users] for users in listed]

    without = await found()
    await create_index(own, PLAN)
    await create_index(own, TAGS)
    await built(own, PLAN, TAGS)
    assert await found() == without
    assert all(without)
