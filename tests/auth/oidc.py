"""A small OIDC issuer on loopback: it signs tokens, serves its keys, and can be rotated, slowed and taken down."""

import asyncio
import base64
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any, Final, TypeAlias

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from usermeta_server.auth.issuers import Issuer
from usermeta_server.model import SECOND

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Jwk = dict[str, Any]

AUDIENCE: Final = "app"
PATIENCE: Final = 5.0
"""Seconds after which what should have happened has not."""
_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1(),
    "ES384": ec.SECP384R1(),
    "ES512": ec.SECP521R1(),
}


class Clock:
    """A monotonic clock that moves when a test says so, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@cache
def private_key(algorithm: str, name: str = "") -> PrivateKey:
    """Return the key of that name, made on first use: RSA keys take long to make."""
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 1024 if name == "short" else 2048)


def public_jwk(key: PrivateKey, **members: object) -> Jwk:
    """Return a key's public JWK with further members."""
    if isinstance(key, rsa.RSAPrivateKey):
        made = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        made = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        made = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**made, **members}


def public_pem(key: PrivateKey) -> bytes:
    """Return a key's public half as its owner publishes it in PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def segment(content: object) -> str:
    """Return one part of a JWT: base64url of JSON (or of bytes) without padding."""
    raw = content if isinstance(content, bytes) else orjson.dumps(content)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: "Oidc"

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that left before they were answered."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        status, headers, body = self.server.owner.answer(self.path)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


class Oidc:
    """An issuer; `requests` counts what its server was asked, `listed` are the JWKs that it serves."""

    def __init__(self, issuer: str, algorithm: str, tls: SSLContext | None = None) -> None:
        self.issuer = issuer
        self.algorithm = algorithm
        self.requests = 0
        self.listed: list[Jwk] = []
        self.raw: tuple[int, dict[str, str], bytes] | None = None
        """What is answered instead of the JWKs: status, headers, body."""
        self.arrived = threading.Event()
        self._tls = tls
        self._gate = threading.Event()
        self._gate.set()
        self._port = 0
        self._server: _Server | None = None
        self.rotate("k1")
        self.up()

    @property
    def url(self) -> str:
        """Where the keys are."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}/jwks.json?v=1"

    def trusted(self, **changes: Any) -> Issuer:  # noqa: ANN401  # any field of an issuer
        """Return the settings under which this issuer is trusted."""
        values = {"issuer": self.issuer, "audience": AUDIENCE, "algorithm": self.algorithm, "jwks": self.url}
        return Issuer(**{**values, **changes})

    def rotate(self, kid: str) -> None:
        """Serve and sign with one new key, and withdraw the others."""
        self.kid = kid
        self.listed = [public_jwk(self.key, kid=kid, use="sig", alg=self.algorithm)]

    @property
    def key(self) -> PrivateKey:
        """The key that signs now."""
        return private_key(self.algorithm, f"{self.issuer} {self.kid}")

    def claims(self, now: int, **changes: object) -> dict[str, object]:
        """Return a session's claims at a time (microseconds); a change to None leaves a claim out."""
        second = now // SECOND
        values = {"iss": self.issuer, "aud": AUDIENCE, "sub": "alice", "iat": second, "exp": second + 60, **changes}
        return {name: value for name, value in values.items() if value is not None}

    def token(self, now: int, headers: Mapping[str, object] | None = None, /, **changes: Any) -> str:  # noqa: ANN401  # any claim
        """Return a token signed with the present key; a header that is None is left out."""
        given = {"kid": self.kid, **(headers or {})}
        kept = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(self.claims(now, **changes), self.key, self.algorithm, kept)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return what the server says to a request, when it may."""
        self.requests += 1
        self.arrived.set()
        self._gate.wait(PATIENCE * 2)
        if path != "/jwks.json?v=1":
            return 404, {}, b""
        return self.raw or (200, {}, orjson.dumps({"keys": self.listed}))

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Answer nothing until the context is left."""
        self.arrived.clear()
        self._gate.clear()
        try:
            yield
        finally:
            self._gate.set()

    async def asked(self) -> None:
        """Wait until a request has arrived since the issuer became slow."""
        assert await asyncio.to_thread(self.arrived.wait, PATIENCE), "nobody asked for the keys"

    def up(self) -> None:
        """Listen, on the same port as before."""
        self._server = _Server(("127.0.0.1", self._port), _Handler)
        self._server.owner = self
        self._port = self._server.server_address[1]
        if self._tls:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def serving(
    issuer: str = "https://login.example.com", algorithm: str = "RS256", tls: SSLContext | None = None
) -> Iterator[Oidc]:
    """Run an issuer until the context is left."""
    oidc = Oidc(issuer, algorithm, tls)
    try:
        yield oidc
    finally:
        oidc.down()
