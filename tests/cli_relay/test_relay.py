"""`usermeta relay`: each change is delivered at least once, in order per user; the place is kept only after that."""

import asyncio
import contextlib
import hashlib
import hmac
import sys
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli_relay.receiver import Receiver, Taken, receiving
from tests.history.support import merge
from tests.support import DEADLINE, Service, serving, settings, until
from usermeta_server.cli.client import remote
from usermeta_server.cli.follow import TokenFile
from usermeta_server.cli.relay import Relay
from usermeta_server.cli.webhook import Endpoint, decode_secret
from usermeta_server.errors import OperatorError
from usermeta_server.settings import ClientSettings

ASKED = (1200, 3600, 7200)
"""Seconds that nothing waits for, but where a receiver asks for it."""
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is tried again be tried soon."""
    monkeypatch.setattr(sys.modules[Relay.__module__], "_MAX_DELAY", 0.01)


@contextlib.asynccontextmanager
async def relaying(
    service: Service,
    receiver: Receiver,
    state: Path,
    **options: Any,  # noqa: ANN401  # of the relay
) -> AsyncIterator["asyncio.Task[None]"]:
    """Run a relay until the context is left; it has its place when this begins."""
    endpoint = Endpoint(receiver.url, decode_secret(SECRET))
    deliveries = Relay(endpoint, "/test", **{"include_private": False, **options})

    async def run() -> None:
        async with remote(ClientSettings(address=service.address, key=service.admin_key)) as stub:
            await deliveries.run(stub, TokenFile(state))

    task = asyncio.create_task(run())
    await until(TokenFile(state).read)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        endpoint.close()


async def taken(receiver: Receiver, count: int) -> list[Taken]:
    """Wait until so many events were taken."""
    return await asyncio.to_thread(receiver.wait, count)


def number_of(each: Taken) -> int:
    """Return the number in the public document of an event's user."""
    number: int = each.event["data"]["after"]["public_metadata"]["n"]
    return number


async def test_delivery(tmp_path: Path) -> None:
    """Each change is one signed event, to the path of the URL; private documents stay here."""
    with receiving() as receiver:
        async with serving(settings(tmp_path)) as service, relaying(service, receiver, tmp_path / "state"):
            user = await service.user(public_metadata={"n": 1}, private_metadata={"secret": "x"})
            (request,) = await taken(receiver, 1)
    assert request.path == "/hook?a=b"
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.event["subject"] == user.id
    assert request.event["source"] == "/test"
    assert request.event["id"] == request.headers["webhook-id"]
    assert b"secret" not in request.body.replace(b"secret_key", b"")
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    digest = hmac.digest(b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256)
    assert request.headers["webhook-signature"] == f"v1,{b64encode(digest).decode()}"


async def test_order_and_retries(tmp_path: Path) -> None:
    """However often deliveries fail, those of one user come in order, each under one id."""
    with receiving() as receiver:
        async with serving(settings(tmp_path)) as service, relaying(service, receiver, tmp_path / "state"):
            users = [await service.user(public_metadata={"n": 0}) for _ in range(3)]
            await taken(receiver, 3)
            receiver.answers.extend([(500, ""), (429, "0"), (302, ""), (400, "")] * 3)
            for number in range(1, 6):
                await asyncio.gather(*(merge(service, user.id, public={"n": number}) for user in users))
            requests = (await taken(receiver, 18))[3:]
    assert len(receiver.requests) == 18 + 12
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 18
    for user in users:
        assert [number_of(each) for each in requests if each.event["subject"] == user.id] == [1, 2, 3, 4, 5]


async def test_the_receiver_says_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry-After is honoured where it asks for more than the relay would wait, up to an hour."""
    delays: list[float] = []
    sleep = asyncio.sleep

    async def noted(delay: float) -> None:
        delays.append(delay)
        await sleep(0 if delay in ASKED else delay)

    monkeypatch.setattr(asyncio, "sleep", noted)
    with receiving() as receiver:
        receiver.answers.extend([(503, "1200"), (503, "7200"), (503, "")])
        async with serving(settings(tmp_path)) as service, relaying(service, receiver, tmp_path / "state"):
            await service.user()
            await taken(receiver, 1)
    assert [delay for delay in delays if delay in ASKED] == [1200, 3600]


async def test_the_place_is_kept_after_delivery(tmp_path: Path) -> None:
    """A relay that ends before an event was taken delivers it when it is started again; one that was is not lost."""
    state = tmp_path / "state"
    with receiving() as receiver:
        async with serving(settings(tmp_path)) as service:
            async with relaying(service, receiver, state):
                before = state.read_text()
                receiver.answers.extend([(503, "")] * 1000)
                user = await service.user(public_metadata={"n": 1})
                await until(lambda: receiver.requests)
                assert state.read_text() == before
            await merge(service, user.id, public={"n": 2})
            receiver.answers.clear()
            async with relaying(service, receiver, state):
                requests = await taken(receiver, 2)
                await until(lambda: state.read_text() != before)
    assert [number_of(each) for each in requests] == [1, 2]


async def test_a_restart_of_the_server(tmp_path: Path) -> None:
    """The relay goes on by itself once the server is there again."""
    with receiving() as receiver:
        async with contextlib.AsyncExitStack() as stack:
            async with serving(settings(tmp_path)) as service:
                relaying_ = relaying(service, receiver, tmp_path / "state")
                task = await stack.enter_async_context(relaying_)
                user = await service.user(public_metadata={"n": 1})
                await taken(receiver, 1)
            async with serving(settings(tmp_path, listen=service.address)) as again:
                await merge(again, user.id, public={"n": 2})
                requests = await taken(receiver, 2)
                assert not task.done()
    assert [number_of(each) for each in requests] == [1, 2]


async def test_an_endpoint_that_is_gone(tmp_path: Path) -> None:
    """410 ends the relay."""
    with receiving() as receiver:
        receiver.answers.append((410, ""))
        async with (
            serving(settings(tmp_path)) as service,
            relaying(service, receiver, tmp_path / "state") as task,
        ):
            await service.user()
            with pytest.raises(OperatorError, match="410"):
                await asyncio.wait_for(task, DEADLINE)


def test_the_token_file(tmp_path: Path) -> None:
    """It holds the last token; what is no file of tokens is said to be so."""
    kept = TokenFile(tmp_path / "token")
    assert kept.read() == ""
    for token in ("a", "b"):
        kept.write(token)
        assert TokenFile(tmp_path / "token").read() == token
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
    with pytest.raises(OperatorError):
        TokenFile(tmp_path).read()
    with pytest.raises(OperatorError):
        TokenFile(tmp_path / "none" / "token").write("a")
    TokenFile(None).write("a")
    assert TokenFile(None).read() == ""
