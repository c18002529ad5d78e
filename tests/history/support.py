"""What the tests of history and watch share: watchers over a real channel, and what history says meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from tests.support import DEADLINE, Refusal, Service, bearer, read_error, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceStub
from usermeta.backend.v1.user_change_pb2 import UserChange
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1.frontend_service_pb2_grpc import FrontendServiceStub
from usermeta_server.model import BEGINNING, Change

Kind = UserChange.Kind


class Watcher:
    """A stream of WatchUsers, that has begun."""

    def __init__(self, call: Any) -> None:  # noqa: ANN401  # gRPC's call
        """Read from a call."""
        self.call = call
        self.token = ""
        self.tokens: list[str] = []

    async def next(self) -> pb.WatchUsersResponse:
        """Return the next response; it must come soon."""
        read = await asyncio.wait_for(self.call.read(), DEADLINE)
        if read is grpc.aio.EOF:
            raise AssertionError(await self.call.code())
        response: pb.WatchUsersResponse = read
        self.token = response.resume_token
        self.tokens.append(self.token)
        return response

    async def end(self) -> Refusal:
        """Read until the watch ends, and return with what."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self._read_all()
        return read_error(caught.value)

    async def _read_all(self) -> None:
        while True:
            await self.next()

    async def events(self, count: int) -> list[pb.WatchUsersEvent]:
        """Return the next events, `count` of them or a few more."""
        found: list[pb.WatchUsersEvent] = []
        while len(found) < count:
            found.extend((await self.next()).events)
        return found

    async def changes(self, count: int) -> list[UserChange]:
        """Return the next changes, `count` of them or a few more."""
        return [event.change for event in await self.events(count)]

    async def snapshot(self) -> list[pb.SnapshotUser]:
        """Return the users of the snapshot, read until the first response after it."""
        found: list[pb.SnapshotUser] = []
        while True:
            response = await self.next()
            if not response.events:
                return found
            found.extend(event.snapshot_user for event in response.events)


@asynccontextmanager
async def watching(
    service: Service,
    key: str = "",
    channel: grpc.aio.Channel | None = None,
    **request: Any,  # noqa: ANN401  # its fields
) -> AsyncIterator[Watcher]:
    """Watch users until the context is left; the watch has its place when this begins."""
    stub = BackendServiceStub(channel or service.channel)
    call = stub.WatchUsers(pb.WatchUsersRequest(**request), metadata=bearer(key or service.admin_key))
    try:
        watcher = Watcher(call)
        assert not (await watcher.next()).events
        yield watcher
    finally:
        call.cancel()


@asynccontextmanager
async def watching_self(service: Service, token: str, channel: grpc.aio.Channel | None = None) -> AsyncIterator[Any]:
    """Watch one's own user until the context is left."""
    stub = FrontendServiceStub(channel or service.channel)
    call = stub.WatchUser(frontend_pb.WatchUserRequest(), metadata=bearer(token))
    try:
        yield call
    finally:
        call.cancel()


async def merge(service: Service, user_id: str, **documents: dict[str, Any]) -> None:
    """Merge into documents of a user."""
    given: dict[str, Any] = {f"{name}_metadata": struct(value) for name, value in documents.items()}
    await service.admin.MergeUserMetadata(pb.MergeUserMetadataRequest(user_id=user_id, **given))


async def history_of(service: Service, user_id: str) -> Sequence[UserChange]:
    """Return the changes of a user, newest first."""
    found: list[UserChange] = []
    token = ""
    while True:
        request = pb.ListUserChangesRequest(user_id=user_id, page_size=1000, page_token=token)
        page = await service.admin.ListUserChanges(request)
        found.extend(page.changes)
        token = page.next_page_token
        if not token:
            return found


async def all_changes(service: Service) -> Sequence[Change]:
    """Return what is in history, in the order of commits."""
    return await service.server.app.store.changes_after(BEGINNING, 1_000_000)


def kinds(changes: Iterable[UserChange]) -> list[str]:
    """Return the names of the changes' kinds."""
    return [Kind.Name(change.kind).removeprefix("KIND_") for change in changes]
