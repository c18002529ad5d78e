"""What does not stay: trimmed changes, and everything of an erased user, the bytes too."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

import aiosqlite
import pytest

from tests.history.support import all_changes, history_of, kinds, merge
from tests.support import (
    BACKEND_CALLER,
    Service,
    allowed,
    document,
    refused,
    request_id,
    serving,
    settings,
    struct,
    until,
)
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1.sign_up_pb2 import SignUp
from usermeta.frontend.v1.user_pb2 import User as OwnUser
from usermeta_server.core.users import new_user
from usermeta_server.core.writes import Intent
from usermeta_server.ids import Stamp
from usermeta_server.model import SECOND, Actor, Change
from usermeta_server.store.contract import Reads

MARK: Final = "zebrafinch"


async def _leave_traces(service: Service) -> str:
    """Make a user by a sign-up, write all over it, and return its id."""
    sign_up = SignUp(email_address=f"{MARK}@example.com", first_name=MARK, unsafe_metadata=struct({MARK: MARK}))
    made = await service.frontend().CreateSignUp(frontend_pb.CreateSignUpRequest(sign_up=sign_up))
    holder = service.frontend(made.sign_up_token)
    user_id = (await holder.CompleteSignUp(frontend_pb.CompleteSignUpRequest())).user.id
    for number in range(3):
        await merge(service, user_id, private={MARK: MARK * 100, "n": number}, public={"m": MARK})
    own = service.frontend(await service.session(user_id))
    update = frontend_pb.UpdateUserRequest(user=OwnUser(last_name=MARK), request_id=request_id())
    await own.UpdateUser(update)
    await service.admin.UpdateUser(pb.UpdateUserRequest(user=User(id=user_id, external_id=MARK, username=MARK)))
    return user_id


def _bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("usermeta.db*")))


async def test_erasing_a_user(tmp_path: Path) -> None:
    """No byte of what a user was stays in the database, and no request of theirs; that there were changes stays."""
    async with serving(settings(tmp_path)) as service:
        for _ in range(20):
            await service.user(private_metadata={"filler": "x" * 500})
        user_id = await _leave_traces(service)
    assert MARK.encode() in _bytes(tmp_path)
    async with serving(settings(tmp_path)) as service:
        await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=user_id))
        changes = await history_of(service, user_id)
        assert kinds(changes) == [
            "DELETED",
            *["PROFILE_UPDATED"] * 2,
            *["METADATA_WRITTEN"] * 3,
            "SIGN_UP_COMPLETED",
        ]
        assert not changes[0].erased
        for change in changes:
            assert change.erased == (change is not changes[0])
            assert not any((change.HasField("before"), change.HasField("after"), change.changed_fields))
        request = pb.RestoreUserMetadataRequest(user_id=user_id, change_id=changes[-1].change_id)
        await refused(service.admin.RestoreUserMetadata(request), "USER_NOT_FOUND")
    assert MARK.encode() not in _bytes(tmp_path)
    async with aiosqlite.connect(tmp_path / "usermeta.db") as connection:
        rows = await connection.execute_fetchall("SELECT count(*) FROM requests WHERE principal LIKE 'user:%'")
        assert list(rows) == [(0,)]


async def test_restoring_again_after_the_change_was_trimmed(tmp_path: Path) -> None:
    """A replay returns the user, whatever became of the change since."""
    async with serving(settings(tmp_path)) as service:
        user = await service.user(public_metadata={"a": 1})
        (created,) = await history_of(service, user.id)
        await merge(service, user.id, public={"a": 2})
        request = pb.RestoreUserMetadataRequest(user_id=user.id, change_id=created.change_id, request_id=request_id())
        first = await service.admin.RestoreUserMetadata(request)
        await service.server.app.store.trim_changes(0, 1)
        assert await service.admin.RestoreUserMetadata(request) == first
        request.request_id = ""
        await refused(service.admin.RestoreUserMetadata(request), "CHANGE_NOT_FOUND")


async def test_what_an_erased_user_was_is_never_restored_to_the_next_with_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when the user ends between the reading of the change and the write."""
    async with serving(settings(tmp_path)) as service:
        user = await service.user(private_metadata={"a": 1})
        (created,) = await history_of(service, user.id)
        store = service.server.app.store
        find = store.find_change

        async def find_and_lose(user_id: str, change_id: int) -> Change | None:
            found = await find(user_id, change_id)
            await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=user.id))
            await service.admin.CreateUser(pb.CreateUserRequest(user_id=user.id))
            return found

        monkeypatch.setattr(store, "find_change", find_and_lose)
        request = pb.RestoreUserMetadataRequest(user_id=user.id, change_id=created.change_id)
        await refused(service.admin.RestoreUserMetadata(request), "CHANGE_NOT_FOUND")
        assert document((await service.get(user.id)).private_metadata) == {}


async def test_history_after_trimming(tmp_path: Path) -> None:
    """The last changes stay, the first of them without what was before; the last one of all stays in any case."""
    async with serving(settings(tmp_path)) as service:
        user = await service.user()
        for number in range(5):
            await merge(service, user.id, private={"n": number})
        store = service.server.app.store
        assert await store.trim_changes(0, 2) == 4
        newest, oldest = await history_of(service, user.id)
        assert newest.HasField("before")
        assert not oldest.HasField("before")
        assert oldest.HasField("after")
        assert await store.trim_changes(newest.time.ToMicroseconds() + SECOND, 100) == 1
        assert len(await all_changes(service)) == 1


async def test_trimming_forgets_tombstones(tmp_path: Path) -> None:
    """Once its tombstone is trimmed nothing is left of an erased user, not even its id."""
    async with serving(settings(tmp_path)) as service:
        user = await service.user()
        await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=user.id))
        assert len(await history_of(service, user.id)) == 2
        await service.user()
        await service.server.app.store.trim_changes(0, 1)
        await refused(service.admin.ListUserChanges(pb.ListUserChangesRequest(user_id=user.id)), "USER_NOT_FOUND")
    assert user.id.encode() not in _bytes(tmp_path)


async def test_a_clock_that_went_back_leaves_no_gap(tmp_path: Path) -> None:
    """A change that looks older than one before it stays as long as that one."""
    async with serving(settings(tmp_path)) as service:
        store = service.server.app.store
        start = store.wall_time()
        for number, seconds in enumerate((1, 1, 3, 2, 4)):
            stamp = Stamp(start + seconds * SECOND, real=True, actor=Actor("", ""), request_id="")
            user_id = f"user_{number}"
            await store.write(
                Reads(users=(user_id,)), partial(new_user, stamp=stamp, write=allowed("", {}), user_id=user_id)
            )
        times = [(change.time - start) // SECOND for change in await all_changes(service)]
        assert times == [1, 1, 3, 2, 4]
        assert await store.trim_changes(start + 3 * SECOND, 100) == 2
        assert len(await all_changes(service)) == 3
        assert await store.trim_changes(start + 4 * SECOND, 100) == 2


async def test_trimming_holds_up_no_write(tmp_path: Path) -> None:
    """Between two slices of what is trimmed the writes that wait get their turn."""
    async with serving(settings(tmp_path)) as service:
        store, core = service.server.app.store, service.server.app.use_cases.users
        intent = Intent(Actor("", ""), "")
        await asyncio.gather(*(core.create(BACKEND_CALLER, ({}, {}), "", intent) for _ in range(600)))
        order: list[str] = []

        async def trim() -> None:
            while await store.trim_changes(0, 1, 10) == 10:
                order.append("slice")

        trimming = asyncio.create_task(trim())
        while not trimming.done():
            await core.create(BACKEND_CALLER, ({}, {}), "", intent)
            order.append("write")
        assert order.count("slice") >= 60
        assert order.count("write") >= 30


async def test_pages_end_where_history_was_trimmed_meanwhile(tmp_path: Path) -> None:
    """Also those of a user who is erased: that there is nothing more is no news of who exists."""
    async with serving(settings(tmp_path)) as service:
        user = await service.user()
        await merge(service, user.id, public={"a": 1})
        await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=user.id))
        request = pb.ListUserChangesRequest(user_id=user.id, page_size=1)
        request.page_token = (await service.admin.ListUserChanges(request)).next_page_token
        assert await service.server.app.store.trim_changes(0, 1) == 2
        assert await service.admin.ListUserChanges(request) == pb.ListUserChangesResponse()


async def test_a_user_whose_changes_were_trimmed_has_a_history_without_any(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as service:
        user, _ = await service.user(), await service.user()
        assert await service.server.app.store.trim_changes(0, 1) == 1
        assert await history_of(service, user.id) == []


async def test_the_server_trims_by_its_settings(tmp_path: Path) -> None:
    """Age and count are settings, and what is over them goes without anybody asking."""
    async with serving(settings(tmp_path)) as service:
        for _ in range(5):
            await service.user()
    async with serving(settings(tmp_path, history_count=2)) as service:

        async def trimmed() -> bool:
            return len(await all_changes(service)) <= 2

        await until(trimmed)
        assert len(await all_changes(service)) == 2
