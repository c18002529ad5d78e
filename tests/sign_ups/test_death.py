"""The server is killed between any two steps of a completion: there is one user then or none, and in the end one."""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.sign_ups.support import COMPLETE, READY, begin, email_address
from tests.store.sqlite import engine_of
from tests.support import DEADLINE, bearer, document, request_id, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as backend_pb
from usermeta.backend.v1 import backend_service_pb2_grpc
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1 import frontend_service_pb2_grpc

CALLERS = 50
STEPS = [
    "SELECT id, version, state",
    "BEGIN",
    "INSERT INTO users",
    "INSERT INTO identifiers",
    "INSERT OR REPLACE INTO requests",
    "INSERT OR REPLACE INTO sign_ups",
    "UPDATE state",
    "COMMIT",
]
"""How the statements of a completion begin, in the order in which they run."""


async def start(database: Path, last: str) -> tuple[Process, str]:
    """Start a server that dies after a statement, and return it with its address."""
    script = Path(__file__).with_name("dying_server.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(database), last, stdout=PIPE, env=environment
    )
    assert process.stdout is not None
    port = await asyncio.wait_for(process.stdout.readline(), DEADLINE)
    return process, f"127.0.0.1:{int(port)}"


def callers(channel: grpc.aio.Channel, sign_up_id: str, tokens: tuple[str, str], seed: int) -> list[Awaitable[Any]]:
    """Return calls of fifty callers who all complete one sign-up: its holder and a backend, some with request ids."""
    chance = random.Random(seed)  # noqa: S311  # a choice that can be repeated, no secret
    holder: Any = frontend_service_pb2_grpc.FrontendServiceStub(channel)
    backend: Any = backend_service_pb2_grpc.BackendServiceStub(channel)
    ids = ["", *(request_id() for _ in range(3))]
    as_holder, as_backend = (bearer(token) for token in tokens)

    def call(again: str) -> Awaitable[Any]:
        if chance.random() < 0.5:
            request = frontend_pb.CompleteSignUpRequest(request_id=again)
            return holder.CompleteSignUp(request, metadata=as_holder, timeout=DEADLINE)  # type: ignore[no-any-return]  # as grpc has it
        to_backend = backend_pb.CompleteSignUpRequest(sign_up_id=sign_up_id, request_id=again)
        return backend.CompleteSignUp(to_backend, metadata=as_backend, timeout=DEADLINE)  # type: ignore[no-any-return]  # as above

    return [call(chance.choice(ids) or request_id()) for _ in range(CALLERS)]


@pytest.mark.parametrize("last", STEPS)
async def test_a_death_at_any_step_leaves_one_user_or_none(tmp_path: Path, last: str) -> None:
    name = email_address()
    async with serving(settings(tmp_path)) as service:
        pending = await begin(
            service, {"email_address": email_address(), "first_name": name, "unsafe_metadata": {"a": 1}}
        )
        tokens = (pending.token, service.admin_key)
    process, address = await start(service.database, last)
    async with grpc.aio.insecure_channel(address) as channel:
        calls = callers(channel, pending.id, tokens, STEPS.index(last))
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert await asyncio.wait_for(process.wait(), DEADLINE) == -signal.SIGKILL
    acknowledged = [each for each in answers if not isinstance(each, BaseException)]
    async with serving(settings(tmp_path)) as service:
        pending.service, pending.holder = service, service.frontend(pending.token)
        known = await pending.known()
        assert known.status == (COMPLETE if last == "COMMIT" else READY)
        assert document(known.unsafe_metadata) == ({} if last == "COMMIT" else {"a": 1})
        assert not acknowledged or last == "COMMIT", "what was not committed was not acknowledged"
        tokens = (pending.token, service.admin_key)
        done = await asyncio.gather(*callers(service.channel, pending.id, tokens, STEPS.index(last)))
        assert {each.user.id for each in (*done, *acknowledged)} == {(await pending.known()).created_user_id}
        assert {each.user.first_name for each in done} == {name}
        rows: Any = await engine_of(service.server.app.store)._fetch("SELECT id, unsafe_metadata FROM users", ())
        assert [tuple(row) for row in rows] == [(done[0].user.id, '{"a":1}')]
