"""An outside issuer whose keys are a file: for tests of what its tokens may, not of how they are verified."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import jwt
import orjson

from tests.auth.oidc import AUDIENCE, private_key, public_jwk
from usermeta_server.auth.issuers import Issuer

ISSUER: Final = "https://login.example.com"
ALGORITHM: Final = "EdDSA"
KEY_ID: Final = "k1"


def issuers_file(folder: Path, issuers: Iterable[Issuer]) -> Path:
    """Write a file that names issuers to trust, and return its path."""
    names = ("issuer", "audience", "algorithm", "jwks", "prefix")
    tables = ["\n".join(["[[issuer]]", *(f"{name} = '{getattr(each, name)}'" for name in names)]) for each in issuers]
    path = folder / "issuers.toml"
    path.write_text("\n".join(tables))
    return path


def trusted(folder: Path) -> Path:
    """Write the issuer's keys and a file that names it, and return the path of that."""
    listed = [public_jwk(private_key(ALGORITHM), kid=KEY_ID, use="sig", alg=ALGORITHM)]
    keys = folder / "jwks.json"
    keys.write_bytes(orjson.dumps({"keys": listed}))
    return issuers_file(folder, [Issuer(ISSUER, AUDIENCE, ALGORITHM, keys)])


def outside_token(subject: str, *, issuer: str = ISSUER, seconds: int = 3600) -> str:
    """Return a session token of the issuer, good for so many seconds from now."""
    now = int(time.time())
    claims = {"iss": issuer, "aud": AUDIENCE, "sub": subject, "iat": now + min(seconds, 0), "exp": now + seconds}
    return jwt.encode(claims, private_key(ALGORITHM), ALGORITHM, {"kid": KEY_ID})
