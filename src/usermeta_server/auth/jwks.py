"""The public keys of an outside issuer: its JSON Web Key Set (RFC 7517), cached, and kept when it cannot be had.

No call waits for an issuer but one whose token names a key that is not known yet.
"""

import asyncio
import http.client
import logging
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias
from urllib.parse import urlsplit

import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import AllowedPublicKeys

from usermeta_server.auth.issuers import Issuer

log = logging.getLogger(__name__)

PublicKey: TypeAlias = AllowedPublicKeys

PAUSE: Final = 10.0
"""Seconds between two fetches of one issuer's keys, whatever tokens ask for."""
MAX_AGE: Final = 600.0
"""Seconds after which keys in use are fetched again, so that one that was withdrawn stops working."""
TIMEOUT: Final = 5.0
"""Seconds that a fetch may take."""
MAX_BYTES: Final = 256 << 10
"""The largest key set that is read."""
_CHUNK: Final = 16 << 10


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
        # One thread of its own: a slow issuer takes none from others, and is asked by one request at a time.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="usermeta-jwks")

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
        self._executor.shutdown(wait=False, cancel_futures=True)

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
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                keys = await loop.run_in_executor(self._executor, _load, self._issuer, self._timeout)
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
        self._stale_at = self._clock() + MAX_AGE


def _load(issuer: Issuer, timeout: float) -> Keys:
    read = _read_file if isinstance(issuer.jwks, Path) else _read_url
    return parse(read(issuer.jwks, timeout), issuer.algorithm)


class _Body(Protocol):
    def read1(self, size: int, /) -> bytes: ...


def _read_all(body: _Body, timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    content = bytearray()
    while chunk := body.read1(_CHUNK):
        content += chunk
        if len(content) > MAX_BYTES:
            raise ValueError(f"the key set has more than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("the key set comes too slowly")
    return bytes(content)


def _read_file(path: str | Path, timeout: float) -> bytes:
    with Path(path).open("rb") as body:
        return _read_all(body, timeout)


def _read_url(url: str | Path, timeout: float) -> bytes:
    """Return what is at a URL: without redirects, proxies or other schemes, none of which http.client knows."""
    parts = urlsplit(str(url))
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with closing(connect(parts.hostname or "", parts.port, timeout=timeout)) as connection:
        connection.request("GET", target, headers={"Accept": "application/json", "User-Agent": "usermeta"})
        with connection.getresponse() as response:
            if response.status != http.client.OK:
                raise http.client.HTTPException(f"it answered {response.status}")
            return _read_all(response, timeout)


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
