"""Watchers cut off and resumed at random, while many write: nothing is missed, split, or out of order."""

import asyncio
import contextlib
import random
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from tests.history.support import all_changes, watching
from tests.store.contract import Recorder
from tests.support import DEADLINE, Service, read_error, serving, settings, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta_server.core.watch import users as watch_users
from usermeta_server.model import Change

WRITERS: Final = 64
WRITES: Final = 12
USERS: Final = 30


class Follower:
    """A watcher that is cut off now and then, and goes on with its token; it keeps what it was told."""

    def __init__(self, service: Service, seed: int, *, snapshot: bool) -> None:
        self.service = service
        self.random = random.Random(seed)  # noqa: S311  # can be repeated
        self.snapshot = snapshot
        self.token = ""
        self.begun = asyncio.Event()
        self.runs: list[list[int]] = [[]]
        self.connections = 0
        self.users: dict[str, tuple[int, User | None]] = {}

    async def follow(self, until: "asyncio.Future[int]") -> None:
        """Follow until the change is seen that `until` will name."""
        while not self._has_seen(until):
            try:
                await self._connection(until)
            except grpc.aio.AioRpcError as error:
                refusal = read_error(error)
                if refusal.reason == "RESUME_TOKEN_EXPIRED":
                    self.token = ""
                    self.runs.append([])
                    continue
                assert refusal.reason == "WATCH_TOO_SLOW"
                self.token = refusal.metadata["resume_token"]

    def _has_seen(self, until: "asyncio.Future[int]") -> bool:
        return until.done() and max(self.runs[-1], default=0) >= until.result()

    async def _connection(self, until: "asyncio.Future[int]") -> None:
        request: dict[str, Any] = {"include_snapshot": self.snapshot and not self.token, "resume_token": self.token}
        self.connections += 1
        async with watching(self.service, **request) as watcher:
            self.token = watcher.token
            self.begun.set()
            if until.done() and self.runs[1:] and not self.runs[-1]:
                await self.service.user()  # it had to begin again after the last one
            for _ in range(self.random.randrange(1, 8)):
                if self._has_seen(until):
                    return
                response = await watcher.next()
                for _ in range(self.random.choice((0, 0, 1, 20))):
                    await asyncio.sleep(0)
                if self.random.random() < 0.1:
                    return  # as if it had died before it had dealt with this one
                for event in response.events:
                    self._take(event)
                self.token = watcher.token

    def _take(self, event: pb.WatchUsersEvent) -> None:
        if event.HasField("snapshot_user"):
            told = event.snapshot_user
            self._keep(told.user.id, told.change_id, told.user)
            return
        change = event.change
        self.runs[-1].append(change.change_id)
        self._keep(change.user_id, change.change_id, change.after if change.HasField("after") else None)

    def _keep(self, user_id: str, change_id: int, user: User | None) -> None:
        if change_id > self.users.get(user_id, (0, None))[0]:
            self.users[user_id] = (change_id, user)


async def write_at_random(service: Service, seed: int, user_ids: list[str]) -> None:
    """Write to random users: documents, many at once, bans, deletions, the same id again."""
    chance = random.Random(seed)  # noqa: S311  # can be repeated
    for number in range(WRITES):
        user_id = chance.choice(user_ids)
        with contextlib.suppress(grpc.aio.AioRpcError):  # the user may be deleted, or there already
            match chance.randrange(10):
                case 0:
                    await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=user_id))
                case 1 | 2:
                    await service.admin.CreateUser(pb.CreateUserRequest(user_id=user_id))
                case 3:
                    user = User(id=user_id, first_name=f"{seed}.{number}", banned=chance.random() < 0.5)
                    await service.admin.UpdateUser(pb.UpdateUserRequest(user=user))
                case 4 | 5:
                    items = [_merge(each, seed, number) for each in chance.sample(user_ids, chance.randrange(2, 9))]
                    await service.admin.BatchMergeUserMetadata(pb.BatchMergeUserMetadataRequest(requests=items))
                case _:
                    await service.admin.MergeUserMetadata(_merge(user_id, seed, number))


def _merge(user_id: str, seed: int, number: int) -> pb.MergeUserMetadataRequest:
    return pb.MergeUserMetadataRequest(user_id=user_id, private_metadata=struct({f"w{seed}": number}))


async def run(service: Service, followers: Iterable[Follower]) -> list[Change]:
    """Let writers write and watchers follow, and return what was committed since the watchers began."""
    users = [(await service.user(username=f"user{number}")).id for number in range(USERS)]
    recorder = Recorder()
    last: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(2 * DEADLINE), asyncio.TaskGroup() as group:
        for follower in followers:
            group.create_task(follower.follow(last))
            await follower.begun.wait()
        service.server.app.store.subscribe(recorder)
        writers = [group.create_task(write_at_random(service, seed, users)) for seed in range(WRITERS)]
        await asyncio.wait(writers)
        await service.user(username="the_last")
        last.set_result(recorder.committed[-1].changes[-1].id)
    committed = [change for each in recorder.committed for change in each.changes]
    assert len(committed) > WRITERS * WRITES / 2
    return committed


def check_order(run_: list[int], committed: list[int], begins: set[int]) -> None:
    """See that one run, of connections that each went on with a token, has every change after its first one."""
    first_seen = list(dict.fromkeys(run_))
    assert first_seen == committed[committed.index(first_seen[0]) :]
    going_back = {now for before, now in pairwise(run_) if now <= before}
    assert going_back <= begins, "a connection began within a write"


def begins_of(committed: list[Change]) -> set[int]:
    """Return the ids of the changes with which a write begins."""
    return {now.id for before, now in pairwise(committed) if before.last} | {committed[0].id}


@pytest.mark.parametrize("seed", range(2))
async def test_watchers_miss_nothing(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each watcher sees from where it began what the history table has, in its order, and ends with its users."""
    monkeypatch.setattr(watch_users, "_BATCH", 10)
    async with serving(settings(tmp_path)) as service:
        service.server.app.hub._max_changes = 12
        followers = [Follower(service, seed * 10 + each, snapshot=each % 2 == 0) for each in range(4)]
        committed = await run(service, followers)
        table = await all_changes(service)
        ids = [change.id for change in committed]
        assert ids == [change.id for change in table][-len(ids) :]
        assert any(not change.last for change in committed), "no write made several changes"
        for follower in followers:
            (told,) = follower.runs
            assert told[0] == ids[0]
            check_order(told, ids, begins_of(committed))
            assert follower.connections > len(ids) / 100
        users = {user.id: user.version for user in await service.server.app.store.users_after("", 1000)}
        for follower in followers[::2]:
            kept = {user_id: change_id for user_id, (change_id, user) in follower.users.items() if user is not None}
            assert kept == users


async def test_watchers_miss_nothing_while_history_is_trimmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is trimmed before it was read is told of as RESUME_TOKEN_EXPIRED; what was read has no gap."""
    monkeypatch.setattr(watch_users, "_BATCH", 10)
    async with serving(settings(tmp_path)) as service:
        service.server.app.hub._max_changes = 10
        followers = [Follower(service, each, snapshot=False) for each in range(4)]

        async def trim() -> None:
            while True:
                await service.server.app.store.trim_changes(0, 20, 25)

        async with watching(service) as watcher:
            stale = watcher.token
        trimming = asyncio.create_task(trim())
        committed = await run(service, followers)
        trimming.cancel()
        ids = [change.id for change in committed]
        for follower in followers:
            for told in filter(None, follower.runs):
                check_order(told, ids[: ids.index(max(told)) + 1], begins_of(committed))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with watching(service, resume_token=stale):
                pass
        assert read_error(caught.value).reason == "RESUME_TOKEN_EXPIRED"


def test_the_checks_see_a_gap() -> None:
    """What the tests above rely on does fail."""
    for told in ([1, 3], [1, 2], [1, 3, 2], [1, 2, 1, 3, 2, 3]):
        with pytest.raises(AssertionError):
            check_order(told, [1, 2, 3], {1, 3})
    check_order([1, 2, 1, 2, 3, 3], [1, 2, 3], {1, 3})
