"""WatchUsers: what a backend's watcher is told, and how it goes on."""

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest

from tests.history.support import Kind, Watcher, history_of, kinds, merge, watching
from tests.support import (
    BACKEND_CALLER,
    DEADLINE,
    Clock,
    Refusal,
    Service,
    bearer,
    document,
    read_error,
    serving,
    settings,
    struct,
    until,
)
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceStub
from usermeta_server.caller import Audience, Caller, Principal, PrincipalKind
from usermeta_server.core.watch import WatchFilter, users
from usermeta_server.core.writes import Intent
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import BEGINNING, Actor, Scope

if TYPE_CHECKING:
    from usermeta.backend.v1.user_change_pb2 import UserChange

BACKEND: Final = Caller(Audience.BACKEND, "", Principal(PrincipalKind.SECRET_KEY, "key_1", Scope.READ))


async def watch_refused(service: Service, key: str = "", **request: Any) -> Refusal:  # noqa: ANN401  # of the request
    """Open a watch that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with watching(service, key, **request):
            pass
    return read_error(caught.value)


async def test_what_follows(service: Service) -> None:
    """A watcher is told of every write from when it began, as history has it, in the order of commits."""
    before = await service.user()
    async with watching(service, await service.key(Scope.READ)) as watcher:
        user = await service.user(username="watched")
        await merge(service, user.id, private={"a": 1})
        await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=before.id))
        changes = await watcher.changes(3)
    assert kinds(changes) == ["CREATED", "METADATA_WRITTEN", "DELETED"]
    assert changes[:2] == (await history_of(service, user.id))[::-1]
    assert changes[2].user_id == before.id
    assert not changes[2].HasField("before")
    assert not changes[2].HasField("after")


async def test_going_on(service: Service) -> None:
    """With a token a watcher is told what came after it, however long it was away."""
    user = await service.user()
    async with watching(service) as watcher:
        await merge(service, user.id, private={"n": 0})
        await watcher.changes(1)
    for number in range(1, 4):
        await merge(service, user.id, private={"n": number})
    async with watching(service, resume_token=watcher.token) as again:
        numbers = [document(change.after.private_metadata)["n"] for change in await again.changes(3)]
    assert numbers == [1, 2, 3]


async def test_going_on_after_a_restart(tmp_path: Path) -> None:
    """A token survives the restart of the server, and so does a token from before the first change."""
    async with serving(settings(tmp_path)) as service, watching(service) as watcher:
        empty = watcher.token
        user = await service.user()
        await watcher.changes(1)
        await merge(service, user.id, private={"n": 1})
    async with serving(settings(tmp_path)) as service:
        for token, expected in ((watcher.token, ["METADATA_WRITTEN"]), (empty, ["CREATED", "METADATA_WRITTEN"])):
            async with watching(service, resume_token=token) as again:
                assert kinds(await again.changes(len(expected))) == expected


async def test_a_snapshot(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """First come all users as they are, each with its last change; then what follows. A cut one goes on."""
    monkeypatch.setattr(users, "_BATCH", 2)
    made = [await service.user() for _ in range(5)]
    async with watching(service, include_snapshot=True) as watcher:
        first = await watcher.next()
        await merge(service, made[0].id, private={"n": 1})
        late = await service.user()
    async with watching(service, resume_token=watcher.token) as again:
        found = [event.snapshot_user for event in first.events]
        changes: list[UserChange] = []
        while len(changes) < 2:
            for event in (await again.next()).events:
                if event.HasField("snapshot_user"):
                    assert not changes, "the snapshot is over when changes begin"
                    found.append(event.snapshot_user)
                else:
                    changes.append(event.change)
    told = {each.user.id: each for each in found}
    assert len(told) == len(found)
    assert {user.id for user in made} <= set(told)
    assert [change.user_id for change in changes] == [made[0].id, late.id]
    for user in made[1:]:
        (created,) = await history_of(service, user.id)
        assert told[user.id] == pb.SnapshotUser(user=user, change_id=created.change_id)


async def test_bookmarks(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing happens, and while nothing that the filter matches does, there are bookmarks with a newer token."""
    monkeypatch.setattr(users, "_IDLE_SECONDS", 0.02)
    async with watching(service) as watcher:
        token = watcher.token
        assert not (await watcher.next()).events
        assert watcher.token == token, "the place is the same"
    nobody = WatchFilter(lambda _: False, "nobody")
    stopped = asyncio.Event()

    async def write() -> None:
        while not stopped.is_set():
            await service.user()

    writing = asyncio.create_task(write())
    async with service.server.app.use_cases.watches.users(BACKEND, nobody, "", snapshot=False) as (_, batches):
        tokens: set[str] = set()
        while len(tokens) < 3:
            batch = await asyncio.wait_for(anext(batches), DEADLINE)
            assert not batch.events
            tokens.add(batch.resume_token)
    stopped.set()
    await writing


async def test_a_write_is_never_split(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred changes of one write come before a token of a later place, in responses that clients can receive."""
    monkeypatch.setattr(users, "_BATCH", 130)
    made = [await service.user(public_metadata={"filler": [0] * 1500}) for _ in range(100)]
    async with watching(service) as watcher, grpc.aio.insecure_channel(service.address) as channel:
        before = watcher.token
        for number in range(2):
            items = [
                pb.MergeUserMetadataRequest(user_id=each.id, public_metadata=struct({"n": number})) for each in made
            ]
            await service.admin.BatchMergeUserMetadata(pb.BatchMergeUserMetadataRequest(requests=items))
        async with watching(service, channel=channel, resume_token=before) as again:
            assert await _places(watcher, 200) == await _places(again, 200) == [100, 200]


async def _places(watcher: Watcher, count: int) -> list[int]:
    """Read so many events, and return after how many of them the token was another."""
    events, places, token = 0, [], watcher.token
    while events < count:
        response = await watcher.next()
        assert response.ByteSize() < 2 << 20
        events += len(response.events)
        if response.resume_token != token:
            places.append(events)
            token = response.resume_token
    return places


async def test_tokens_that_are_not_of_this_watch(service: Service) -> None:
    """A damaged token, one with another filter, one together with a snapshot."""
    async with watching(service) as watcher:
        token = watcher.token
    assert (await watch_refused(service, resume_token=token[:-2])).reason == "RESUME_TOKEN_INVALID"
    assert (await watch_refused(service, resume_token="token")).reason == "RESUME_TOKEN_INVALID"
    assert (await watch_refused(service, resume_token=token, include_snapshot=True)).reason == "FIELD_INVALID"
    watches = service.server.app.use_cases.watches
    with pytest.raises(UsermetaError) as caught:
        async with watches.users(BACKEND, WatchFilter(lambda _: True, "banned = true"), token, snapshot=False):
            pass
    assert caught.value.reason is Reason.RESUME_TOKEN_INVALID


async def test_a_restored_backup(tmp_path: Path) -> None:
    """A token of what was written after a backup is expired once that is restored, though its change id came again."""
    (tmp_path / "a").mkdir()
    async with serving(settings(tmp_path / "a")) as service:
        user = await service.user()
        async with watching(service) as watcher:
            kept = watcher.token
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    async with serving(settings(tmp_path / "a")) as service, watching(service, resume_token=kept) as watcher:
        await merge(service, user.id, private={"n": 1})
        (change,) = await watcher.changes(1)
    async with serving(settings(tmp_path / "b")) as service:
        await merge(service, user.id, private={"n": 2})
        assert (await history_of(service, user.id))[0].change_id == change.change_id
        assert (await watch_refused(service, resume_token=watcher.token)).reason == "RESUME_TOKEN_EXPIRED"
        async with watching(service, resume_token=kept) as again:
            assert (await again.changes(1))[0].after == await service.get(user.id)


async def test_a_trimmed_place(tmp_path: Path) -> None:
    """A token whose following changes were trimmed is expired, one of the oldest change kept is good."""
    async with serving(settings(tmp_path)) as service:
        async with watching(service) as watcher:
            empty = watcher.token
            await service.user()
            await watcher.changes(1)
            first = watcher.token
            await service.user()
            await watcher.changes(1)
        store = service.server.app.store
        assert await store.trim_changes(0, 2) == 0
        async with watching(service, resume_token=empty) as again:
            assert len(await again.changes(2)) == 2, "nothing has been trimmed yet"
        await service.user()
        assert await store.trim_changes(0, 2) == 1
        for token in (empty, first):
            assert (await watch_refused(service, resume_token=token)).reason == "RESUME_TOKEN_EXPIRED"
        async with watching(service, resume_token=watcher.token) as again:
            assert kinds(await again.changes(1)) == ["CREATED"]


async def test_what_ends_a_watch(tmp_path: Path) -> None:
    """Revoking its key, and the key's end."""
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        clock.stop()
        key, short = await service.key(Scope.READ), await service.key(Scope.READ, expires_in=1)
        key_id = f"key_{key.split('_')[1]}"  # not by the list's order: two keys of one millisecond have none
        async with watching(service, key) as revoked, watching(service, short) as expired, watching(service) as lasting:
            await service.admin.RevokeSecretKey(pb.RevokeSecretKeyRequest(secret_key_id=key_id))
            for watcher, reason in ((revoked, "CREDENTIAL_INVALID"), (expired, "CREDENTIAL_EXPIRED")):
                assert (await watcher.end()).reason == reason
            await service.user()
            assert await lasting.changes(1)


async def test_the_end_of_the_server(tmp_path: Path) -> None:
    """At the shutdown a watch is ended before the grace is over, with SHUTTING_DOWN."""
    async with serving(settings(tmp_path)) as service, watching(service) as watcher:
        await service.server.stop(DEADLINE)
        assert (await watcher.end()).reason == "SHUTTING_DOWN"


async def test_the_end_of_the_server_while_a_watch_begins(tmp_path: Path) -> None:
    """A watch whose first response is still on the way is ended as any other, before the grace is over."""
    async with serving(settings(tmp_path)) as service:
        stub = BackendServiceStub(service.channel)
        watcher = Watcher(stub.WatchUsers(pb.WatchUsersRequest(), metadata=bearer(service.admin_key)))
        hub = service.server.app.hub
        await until(lambda: hub._watches)
        await service.server.stop(DEADLINE)
        assert (await watcher.end()).reason == "SHUTTING_DOWN", "the grace had to end it"


async def test_erased_changes(tmp_path: Path) -> None:
    """From memory and from the table alike, what is told of an erased user is that there were changes."""
    async with serving(settings(tmp_path)) as service, watching(service) as watcher:
        # While somebody watches the hub keeps what was written: who comes later, or lags behind, is told from there.
        start, hub = watcher.token, service.server.app.hub
        user = await service.user(first_name="Ada", private_metadata={"secret": 1})
        assert (await watcher.changes(1))[0].after.first_name == "Ada"
        intent, core = Intent(Actor("", ""), ""), service.server.app.use_cases.users
        # In one commit: what is erased must still be only what was before.
        creating = core.create(BACKEND_CALLER, ({"first_name": "Bob"}, {}), user.id, intent)
        await asyncio.gather(core.delete(user.id, "", intent), creating)
        for from_table in (False, True):
            if from_table:
                hub._max_changes = 0
                await service.user()
            assert (hub.after(BEGINNING, 1) is None) is from_table
            async with watching(service, resume_token=start) as again:
                first, tombstone, second = (await again.changes(3))[:3]
            assert first.erased
            assert not first.HasField("after")
            assert not first.request_id
            assert tombstone.kind == Kind.KIND_DELETED
            assert second.after.first_name == "Bob", "what comes after the tombstone is another user's"
