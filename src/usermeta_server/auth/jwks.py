"""The public keys of an outside issuer: its JSON Web Key Set (RFC 7517), cached, and kept when it cannot be had.

No call waits for an issuer but one whose token names a key that is not known yet.
"""

import asyncio
import http.client
import io
import logging
import math
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, cast
from urllib.parse import SplitResult, urlsplit

import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import AllowedPublicKeys

from usermeta_server.auth.issuers import Issuer

if TYPE_CHECKING:
    import socket

log = logging.getLogger(__name__)

PublicKey: TypeAlias = AllowedPublicKeys

PAUSE: Final = 10.0
"""Seconds between two fetches of one issuer's keys, whatever tokens ask for."""
TIMEOUT: Final = 5.0
"""Seconds that a fetch may take, from the look-up of the host's name to the last byte."""
MAX_BYTES: Final = 256 << 10
"""The largest key set that is read."""
_MAX_RESPONSE: Final = MAX_BYTES + (64 << 10)
"""The largest response that is read: a key set, its headers, and what the transfer adds."""


class Keys(NamedTuple):
    """The keys of a set that fit the issuer's algorithm: those with a key id, and the only one if there is but one."""

    by_kid: Mapping[str, PublicKey]
    only: PublicKey | None


class KeySet:
    """The keys of one issuer."""

    def __init__(
        self, issuer: Issuer, clock: Callable[[], float] = time.monotonic, *, timeout: float = TIMEOUT
    ) -> None:
        """Know no key yet; the first call for one fetches them."""
        self.version = 0
        """Another number whenever the keys have changed."""
        self.reachable = True
        """Whether the last fetch succeeded."""
        self._issuer = issuer
        self._clock = clock
        self._timeout = timeout
        self._keys = Keys({}, None)
        self._stale_at = self._paused_until = -math.inf
        self._flight: asyncio.Task[None] | None = None

    async def key(self, kid: str | None) -> PublicKey | None:
        """Return the key of an id, or the only one for a token without; None if the issuer has no such key.

        Waits for a fetch only if the key is not known, and for `TIMEOUT` at the most.
        """
        found = self._find(kid)
        if found is None or self.overdue:
            flight = self._refresh()
            if found is None and flight is not None:
                await asyncio.wait({flight})
                found = self._find(kid)
        return found

    @property
    def overdue(self) -> bool:
        """Whether the keys are old enough to be fetched again, and may be."""
        return self._clock() >= self._stale_at and self._may_start()

    async def close(self) -> None:
        """End a fetch under way; those who wait for it go on without."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait({self._flight})

    def _find(self, kid: str | None) -> PublicKey | None:
        return self._keys.only if kid is None else self._keys.by_kid.get(kid)

    def _may_start(self) -> bool:
        return self._clock() >= self._paused_until and (self._flight is None or self._flight.done())

    def _refresh(self) -> "asyncio.Task[None] | None":
        """Return the fetch under way, started now unless it is too early for one.

        It is a task of its own, which no caller's cancellation reaches.
        """
        if self._may_start():
            self._flight = asyncio.create_task(self._fetch(), name="usermeta-jwks")
        return self._flight

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                keys = await _load(self._issuer)
        except Exception as error:  # noqa: BLE001  # whatever an issuer does, the keys at hand are kept
            log.warning("the keys of issuer %s cannot be had, those at hand are kept: %r", self._issuer.issuer, error)
            self.reachable = False
        else:
            self._take(keys)
        finally:
            self._paused_until = self._clock() + PAUSE

    def _take(self, keys: Keys) -> None:
        if not keys.by_kid and keys.only is None:
            log.warning("issuer %s has no key for %s", self._issuer.issuer, self._issuer.algorithm)
        if keys != self._keys:
            self.version += 1
        self.reachable = True
        self._keys = keys
        self._stale_at = self._clock() + self._issuer.max_age


async def _load(issuer: Issuer) -> Keys:
    content = await (_read_file(issuer.jwks) if isinstance(issuer.jwks, Path) else _read_url(issuer.jwks))
    if len(content) > MAX_BYTES:
        raise ValueError(f"the key set has more than {MAX_BYTES} bytes")
    return await asyncio.to_thread(parse, content, issuer.algorithm)


async def _read_file(path: Path) -> bytes:
    def read() -> bytes:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)

    return await asyncio.to_thread(read)


async def _read_url(url: str) -> bytes:
    """Return what is at a URL, without redirects, proxies or other schemes.

    On the event loop, so that whatever hangs or trickles ends with whoever waits for this: connecting, TLS, headers
    and body; and nothing is left of it.
    """
    parts = urlsplit(url)
    tls = await asyncio.to_thread(ssl.create_default_context) if parts.scheme == "https" else None
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or (443 if tls else 80), ssl=tls)
    try:
        writer.write(_request(parts))
        received = await _read_all(reader)
    finally:
        writer.transport.abort()
    response = http.client.HTTPResponse(cast("socket.socket", _Received(received)))
    response.begin()
    if response.status != http.client.OK:
        raise http.client.HTTPException(f"it answered {response.status}")
    return response.read()


def _request(parts: SplitResult) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = (f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", *_HEADERS, "", "")
    return "\r\n".join(lines).encode("ascii")


_HEADERS: Final = ("Accept: application/json", "User-Agent: usermeta", "Connection: close")


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    received = bytearray()
    while chunk := await reader.read(_MAX_RESPONSE):
        received += chunk
        if len(received) > _MAX_RESPONSE:
            raise ValueError(f"the response has more than {_MAX_RESPONSE} bytes")
    return bytes(received)


class _Received:
    """A response that has arrived, in place of the socket from which the standard library would read it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._content)


def parse(content: bytes, algorithm: str) -> Keys:
    """Return the keys of a set that fit an algorithm; the others are ignored (RFC 7517, section 5).

    Raises:
        ValueError: the content is no key set.
    """
    match orjson.loads(content):
        case {"keys": [*listed]}:
            pass
        case _:
            raise ValueError("it is no JSON Web Key Set")
    by_kid: dict[str, PublicKey] = {}
    keys: list[PublicKey] = []
    for jwk in listed:
        key = _public_key(jwk, algorithm) if isinstance(jwk, dict) else None
        if key is None:
            continue
        keys.append(key)
        if isinstance(jwk.get("kid"), str):
            by_kid.setdefault(jwk["kid"], key)
    return Keys(by_kid, keys[0] if len(keys) == 1 else None)


def _public_key(jwk: dict[str, object], algorithm: str) -> PublicKey | None:
    """Return the key of a JWK if it is public, for signatures, of the algorithm's kind and curve, and long enough."""
    if jwk.get("alg", algorithm) != algorithm or jwk.get("use", "sig") != "sig" or "d" in jwk:
        return None
    try:
        made = jwt.PyJWK(jwk, algorithm)
        key: PublicKey = made.Algorithm.prepare_key(made.key)  # refuses an EC key on another curve
    except (jwt.PyJWTError, UnsupportedAlgorithm):
        return None
    return None if made.Algorithm.check_key_length(key) else key
