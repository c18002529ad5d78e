"""The keys that sign session tokens: kept over a restart, replaced on request, dropped when no token needs them."""

from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest

from tests.support import DEADLINE, FRONTEND, bearer, read_error, serving, settings
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta_server.app import open_app
from usermeta_server.auth.session_tokens import MAX_TTL
from usermeta_server.server import start_server

ME = frontend_pb.GetUserRequest()


async def get_me(port: int, token: str) -> bytes:
    """Call GetUser with a session token."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(f"{FRONTEND}GetUser", request_serializer=bytes, response_deserializer=bytes)
        return await call(b"", metadata=grpc.aio.Metadata(*bearer(token)), timeout=DEADLINE)


async def test_a_session_survives_a_restart(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    async with serving(chosen) as service:
        user = await service.user()
        token = await service.session(user.id)
    async with serving(chosen) as service:
        assert (await service.frontend(token).GetUser(ME)).user.id == user.id
        later = await service.session(user.id)
    assert jwt.get_unverified_header(later)["kid"] == jwt.get_unverified_header(token)["kid"]


async def test_after_a_rotation_new_tokens_have_another_key_and_old_ones_still_work(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    async with serving(chosen) as service:
        user = await service.user()
        token = await service.session(user.id)
    async with start_server(chosen, rotate_session_key=True) as server:
        assert user.id.encode() in await get_me(server.port, token)
        again = await server.app.store.user(user.id)
        assert again is not None
        later, _ = server.app.tokens.issue(again, again.create_time, MAX_TTL)
    assert jwt.get_unverified_header(later)["kid"] != jwt.get_unverified_header(token)["kid"]


async def test_a_key_that_no_living_token_was_signed_with_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(tmp_path)
    async with serving(chosen) as service:
        user = await service.user()
        token = await service.session(user.id)
    monkeypatch.setattr("usermeta_server.app.MAX_TTL", -1)
    kept: list[Any] = []
    for _ in range(2):
        async with open_app(chosen, rotate_session_key=True) as app:
            store: Any = app.store
            kept = list(await store.signing_keys())
    assert len(kept) == 1
    async with start_server(chosen) as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await get_me(server.port, token)
        assert read_error(caught.value).reason == "CREDENTIAL_INVALID"
