"""The keys of an issuer: when they are fetched, what is kept, and which are fit."""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.auth.oidc import PATIENCE, Clock, Oidc, private_key, public_jwk
from tests.auth.support import key_set
from usermeta_server.auth.issuers import Issuer
from usermeta_server.auth.jwks import MAX_BYTES, PAUSE


async def test_keys_are_cached(oidc: Oidc, clock: Clock) -> None:
    """The first call fetches the keys, later ones use them."""
    async with key_set(oidc.trusted(), clock) as keys:
        assert oidc.requests == 0
        for _ in range(3):
            assert await keys.key("k1") == oidc.key.public_key()
        assert (oidc.requests, keys.reachable, keys.version) == (1, True, 1)


async def test_an_unknown_key_is_looked_for(oidc: Oidc, clock: Clock) -> None:
    """After a rotation the new key is found, the old one gone, and the version another."""
    async with key_set(oidc.trusted(), clock) as keys:
        assert await keys.key("k1")
        oidc.rotate("k2")
        clock.now += PAUSE
        assert await keys.key("k2") == oidc.key.public_key()
        assert await keys.key("k1") is None
        assert (oidc.requests, keys.version) == (2, 2)


async def test_unknown_keys_are_looked_for_now_and_then(oidc: Oidc, clock: Clock) -> None:
    """Whatever ids tokens name, the issuer is asked once in a pause, whether it has such a key or not."""
    async with key_set(oidc.trusted(), clock) as keys:
        for attempt in range(5):
            assert await keys.key(f"unknown{attempt}") is None
        assert oidc.requests == 1
        clock.now += PAUSE - 0.1
        assert await keys.key("unknown") is None
        assert oidc.requests == 1
        clock.now += 0.1
        assert await keys.key("unknown") is None
        assert (oidc.requests, keys.version) == (2, 1)


async def test_a_failed_fetch_is_repeated_now_and_then(oidc: Oidc, clock: Clock) -> None:
    """An issuer that is down is not asked again at once, and found when it is back."""
    oidc.raw = (503, {}, b"")
    async with key_set(oidc.trusted(), clock) as keys:
        for _ in range(3):
            assert await keys.key("k1") is None
        assert (oidc.requests, keys.reachable) == (1, False)
        oidc.raw = None
        clock.now += PAUSE
        assert await keys.key("k1")
        assert (oidc.requests, keys.reachable) == (2, True)


async def test_one_fetch_at_a_time(oidc: Oidc, clock: Clock) -> None:
    """Any number of callers wait for one fetch, and one of them who leaves takes it from nobody."""
    async with key_set(oidc.trusted(), clock) as keys:
        with oidc.slow():
            callers = [asyncio.create_task(keys.key("k1")) for _ in range(20)]
            await oidc.asked()
            callers[0].cancel()
            await asyncio.wait({callers[0]})
            assert [caller.done() for caller in callers] == [True] + [False] * 19
        assert await asyncio.gather(*callers[1:]) == [oidc.key.public_key()] * 19
        assert callers[0].cancelled()
        assert oidc.requests == 1


async def test_nobody_waits_for_a_slow_issuer_but_who_needs_it(oidc: Oidc, clock: Clock) -> None:
    """While a fetch for an unknown key hangs, a known key is there at once."""
    async with key_set(oidc.trusted(), clock) as keys:
        known = await keys.key("k1")
        oidc.rotate("k2")
        clock.now += oidc.trusted().max_age
        with oidc.slow():
            newcomer = asyncio.create_task(keys.key("k2"))
            await oidc.asked()
            assert await keys.key("k1") == known
            assert not newcomer.done()
        assert await newcomer == oidc.key.public_key()


async def test_a_fetch_takes_no_longer_than_its_time(oidc: Oidc, clock: Clock) -> None:
    """An issuer that is slower than that counts as down, and is asked again later."""
    async with key_set(oidc.trusted(), clock, patience=0.05) as keys:
        with oidc.slow():
            assert await keys.key("k1") is None
            assert not keys.reachable
    async with key_set(oidc.trusted(), clock) as keys:
        assert await keys.key("k1")


ANSWER = b"HTTP/1.1 200 OK\r\n"
TRICKLES: dict[str, tuple[str, bytes, bytes]] = {
    "the greeting of TLS": ("https", b"", b""),
    "the greeting of TLS, byte by byte": ("https", b"", b"\x16"),
    "headers": ("http", ANSWER, b"x: y\r\n"),
    "one long header": ("http", ANSWER + b"x: ", b"y"),
    "interim answers": ("http", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the body": ("http", ANSWER + b"Content-Length: 200000\r\n\r\n", b" "),
    "chunks": ("http", ANSWER + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize("name", TRICKLES)
async def test_a_fetch_ends_in_time_whatever_trickles(name: str, clock: Clock) -> None:
    """Callers are let go, and nothing is left of the fetch: the issuer sees its connection end."""
    scheme, first, drop = TRICKLES[name]
    connected: set[asyncio.StreamWriter] = set()

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(drop)
                await writer.drain()
                await asyncio.sleep(0.005)

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.add(writer)
        dripping = asyncio.create_task(drip(writer))
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                pass
        dripping.cancel()
        writer.transport.abort()
        connected.remove(writer)

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        issuer = Issuer("slow", "app", "RS256", f"{scheme}://127.0.0.1:{port}/")
        async with key_set(issuer, clock, patience=0.5) as keys:
            assert await keys.key("k1") is None
            assert not keys.reachable
            async with asyncio.timeout(PATIENCE * 2):
                while connected:  # noqa: ASYNC110  # the condition is another task's
                    await asyncio.sleep(0.01)


async def test_a_fetch_that_hangs_in_the_look_up_of_a_name(
    oidc: Oidc, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers are let go in time even if a resolver of names knows of none."""
    loop = asyncio.get_running_loop()
    release = asyncio.Event()
    resolve = loop.getaddrinfo

    async def hang(*args: Any, **kwargs: Any) -> object:  # noqa: ANN401  # whatever the loop asks for
        await release.wait()
        return await resolve(*args, **kwargs)

    monkeypatch.setattr(loop, "getaddrinfo", hang)
    named = Issuer("named", "app", "RS256", oidc.url.replace("127.0.0.1", "localhost"))
    async with key_set(named, clock, patience=0.05) as keys:
        assert await keys.key("k1") is None
        assert (keys.reachable, oidc.requests) == (False, 0)
    release.set()
    async with key_set(named, clock) as keys:
        assert await keys.key("k1")


async def test_keys_are_kept_when_the_issuer_is_down(
    oidc: Oidc, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused connection costs nothing but a line in the log; the issuer's new keys come when it is back."""
    async with key_set(oidc.trusted(), clock) as keys:
        known = await keys.key("k1")
        oidc.down()
        clock.now += oidc.trusted().max_age
        assert await keys.key("k2") is None
        assert await keys.key("k1") == known
        assert (keys.reachable, keys.version) == (False, 1)
        assert [(line.levelno, oidc.issuer in line.message) for line in caplog.records] == [(logging.WARNING, True)]
        oidc.rotate("k2")
        oidc.up()
        clock.now += PAUSE
        assert await keys.key("k2") == oidc.key.public_key()


async def test_a_withdrawn_key_stops_working(oidc: Oidc, clock: Clock) -> None:
    """Keys in use are fetched again after a while, in the background, though every key asked for is known."""
    async with key_set(oidc.trusted(), clock) as keys:
        assert await keys.key("k1")
        oidc.rotate("k2")
        clock.now += oidc.trusted().max_age - 0.1
        assert (keys.overdue, await keys.key("k1") is not None, oidc.requests) == (False, True, 1)
        clock.now += 0.1
        with oidc.slow():
            assert (keys.overdue, await keys.key("k1") is not None, keys.overdue) == (True, True, False)
            await oidc.asked()
        assert await keys.key("k2")
        assert await keys.key("k1") is None
        assert oidc.requests == 2


async def test_how_long_a_withdrawn_key_stays_good_is_the_issuers_setting(oidc: Oidc, clock: Clock) -> None:
    async with key_set(oidc.trusted(max_age=60), clock) as keys:
        assert await keys.key("k1")
        clock.now += 59.9
        assert not keys.overdue
        clock.now += 0.1
        assert keys.overdue


async def test_closing_ends_a_fetch(oidc: Oidc, clock: Clock) -> None:
    """Who waits for a slow issuer at shutdown goes on without its keys."""
    async with key_set(oidc.trusted(), clock, patience=60) as keys:
        with oidc.slow():
            caller = asyncio.create_task(keys.key("k1"))
            await oidc.asked()
            await keys.close()
            assert await asyncio.wait_for(caller, PATIENCE) is None


GOOD = orjson.dumps({"keys": [public_jwk(private_key("RS256", "good"), kid="k2")]})
ANSWERS: list[tuple[int, dict[str, str], bytes]] = [
    (404, {}, GOOD),
    (500, {}, GOOD),
    (204, {}, b""),
    (302, {"Location": "/jwks.json?v=1"}, GOOD),
    (301, {"Location": "file:///etc/hostname"}, GOOD),
    (200, {}, b""),
    (200, {}, b"<html>"),
    (200, {}, GOOD[:-2]),
    (200, {}, b"\xff"),
    (200, {}, b"[]"),
    (200, {}, b"{}"),
    (200, {}, b'{"keys": {}}'),
    (200, {}, b"[" * 100_000),
    (200, {}, GOOD + b" " * (MAX_BYTES + 1 - len(GOOD))),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: f"{answer[0]}-{answer[2][:8]!r}-{len(answer[2])}")
async def test_answers_that_are_no_key_set(answer: tuple[int, dict[str, str], bytes], oidc: Oidc, clock: Clock) -> None:
    """An error, a redirect, something else than a key set or too much of it changes nothing."""
    async with key_set(oidc.trusted(), clock) as keys:
        known = await keys.key("k1")
        oidc.raw = answer
        clock.now += PAUSE
        assert await keys.key("k2") is None
        assert await keys.key("k1") == known
        assert (oidc.requests, keys.reachable) == (2, False)
        oidc.raw = (200, {}, GOOD + b" " * (MAX_BYTES - len(GOOD)))
        clock.now += PAUSE
        assert await keys.key("k2")


async def test_an_empty_key_set_withdraws_all(oidc: Oidc, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """An issuer that says it has no key is not down: its word counts, and is logged."""
    async with key_set(oidc.trusted(), clock) as keys:
        assert await keys.key("k1")
        oidc.listed = []
        clock.now += PAUSE
        assert await keys.key("k2") is None
        assert await keys.key("k1") is None
        assert keys.reachable
        assert "has no key for RS256" in caplog.text


async def test_one_key_without_an_id_is_a_key(oidc: Oidc, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The issuer is not said to have none."""
    oidc.listed = [public_jwk(oidc.key)]
    async with key_set(oidc.trusted(), clock) as keys:
        assert await keys.key(None) == oidc.key.public_key()
    assert caplog.records == []


async def test_keys_in_a_file(tmp_path: Path, clock: Clock) -> None:
    """A key file is read again for an unknown key, and its keys are kept when it is gone."""
    path = tmp_path / "keys.json"
    first, second = (private_key("EdDSA", name) for name in ("first", "second"))
    path.write_bytes(orjson.dumps({"keys": [public_jwk(first, kid="k1")]}))
    async with key_set(Issuer("file", "app", "EdDSA", path), clock) as keys:
        assert await keys.key("k1") == first.public_key()
        path.write_bytes(orjson.dumps({"keys": [public_jwk(second, kid="k2")]}))
        assert await keys.key("k2") is None
        clock.now += PAUSE
        assert await keys.key("k2") == second.public_key()
        path.unlink()
        clock.now += PAUSE
        assert await keys.key("k3") is None
        assert (await keys.key("k2"), keys.reachable) == (second.public_key(), False)
        path.write_bytes(b" " * (MAX_BYTES + 1))
        clock.now += PAUSE
        assert (await keys.key("k3"), keys.reachable) == (None, False)
