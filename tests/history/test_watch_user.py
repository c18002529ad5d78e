"""WatchUser: a person's own user, whenever something visible to them changes, and not a sign of anything else."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.history.support import merge, watching_self
from tests.support import DEADLINE, Clock, Service, document, read_error, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1.user_pb2 import User as OwnUser
from usermeta_server.core.watch import OwnWatch


async def read(call: Any) -> OwnUser:  # noqa: ANN401  # gRPC's call
    """Return the next user of a watch; it must come soon."""
    read_ = await asyncio.wait_for(call.read(), DEADLINE)
    assert read_ is not grpc.aio.EOF
    response: frontend_pb.WatchUserResponse = read_
    return response.user


async def ended(call: Any) -> str:  # noqa: ANN401  # gRPC's call
    """Return the reason with which a watch ends; it must end soon."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call.read(), DEADLINE)
    return read_error(caught.value).reason


async def test_what_the_user_sees(service: Service) -> None:
    """First the user as it is; then again after every visible write, by whomever."""
    user = await service.user(public_metadata={"a": 1}, private_metadata={"secret": 1})
    token = await service.session(user.id)
    async with watching_self(service, token) as call:
        own = service.frontend(token)
        assert await read(call) == (await own.GetUser(frontend_pb.GetUserRequest())).user
        await merge(service, user.id, public={"a": 2})
        assert document((await read(call)).public_metadata) == {"a": 2}
        await own.UpdateUser(frontend_pb.UpdateUserRequest(user=OwnUser(first_name="Ada")))
        assert (await read(call)).first_name == "Ada"
        await service.admin.UpdateUser(
            pb.UpdateUserRequest(user=User(id=user.id, email_address=f"{user.id}@example.com"))
        )
        assert (await read(call)).email_address


@contextlib.contextmanager
def counted_wakes(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  # a generator, to mypy
    """Count how often a watch of one's own user goes round: looks at the user, for whatever reason."""
    rounds: list[str] = []
    admit = OwnWatch.next

    async def counting(self: OwnWatch) -> Any:  # noqa: ANN401  # as the method
        wake = self.watch.wake
        clear = wake.clear

        def note() -> None:
            rounds.append("round")
            clear()

        wake.clear = note  # type: ignore[method-assign]  # counted
        try:
            return await admit(self)
        finally:
            wake.clear = clear  # type: ignore[method-assign]  # as it was

    monkeypatch.setattr(OwnWatch, "next", counting)
    yield rounds


async def test_what_is_private_never_shows(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Private writes, the external id, a lifted ban and other users do not even wake the watch; no etag moves."""
    user, other = await service.user(), await service.user()
    with counted_wakes(monkeypatch) as rounds:
        async with watching_self(service, await service.session(user.id)) as call:
            first = await read(call)
            seen = len(rounds)
            for number in range(5):
                await merge(service, user.id, private={"n": number})
                await merge(service, other.id, public={"n": number})
                request = pb.UpdateUserRequest(user=User(id=user.id, external_id=f"{user.id} {number}"))
                await service.admin.UpdateUser(request)
            assert seen + 1 >= len(rounds), "the watch was woken by what it may not see"
            await merge(service, user.id, public={"seen": True})
            second = await read(call)
    expected = OwnUser()
    expected.CopyFrom(first)
    expected.public_metadata.CopyFrom(second.public_metadata)
    expected.metadata_etags.public_metadata = second.metadata_etags.public_metadata
    expected.update_time.CopyFrom(second.update_time)
    assert second == expected
    assert document(second.public_metadata) == {"seen": True}


async def test_what_ends_it(tmp_path: Path) -> None:
    """A ban, a deletion, the end of the session; and it does not begin for a banned user."""
    clock = Clock()
    async with serving(settings(tmp_path), clock=clock) as service:
        clock.stop()
        banned, deleted, expiring = [await service.user() for _ in range(3)]
        tokens = [await service.session(user.id) for user in (banned, deleted)]
        tokens.append(await service.session(expiring.id, seconds=2))
        async with contextlib.AsyncExitStack() as stack:
            calls = [await stack.enter_async_context(watching_self(service, token)) for token in tokens]
            for call in calls:
                await read(call)
            await service.admin.UpdateUser(pb.UpdateUserRequest(user=User(id=banned.id, banned=True)))
            await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=deleted.id))
            assert [await ended(call) for call in calls] == ["USER_BANNED", "USER_NOT_FOUND", "CREDENTIAL_EXPIRED"]
        async with watching_self(service, tokens[0]) as call:
            assert await ended(call) == "USER_BANNED"


async def test_a_watcher_that_reads_late(service: Service) -> None:
    """It is told how things are by then, not every step on the way."""
    user = await service.user(public_metadata={"n": -1})
    options = (
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.http2.bdp_probe", 0),
    )  # little is kept for who does not read
    async with (
        grpc.aio.insecure_channel(service.address, options=options) as channel,
        watching_self(service, await service.session(user.id), channel) as call,
    ):
        await read(call)
        for number in range(300):
            await merge(service, user.id, public={"n": number, "filler": "x" * 6000})
        told = 0
        while document((await read(call)).public_metadata)["n"] != 299:
            told += 1
        assert told < 299
