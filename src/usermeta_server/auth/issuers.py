"""Which outside issuers of session tokens are trusted, and how each is read: one small TOML file.

[[issuer]]
issuer = "https://login.example.com"                          # the tokens' `iss`, to the letter
audience = "my-app"                                           # what their `aud` has to name; or, and
authorized_party = ["https://app.example.com"]                # whom their `azp` has to name: one of these, or a string
algorithm = "RS256"                                           # the only one that is taken
jwks = "https://login.example.com/.well-known/jwks.json"      # or a file, relative to this one
subject_claim = "sub"                                         # the rest may be left out
prefix = ""                                                   # of external ids; distinct if issuers are several
email_claim = "email"
verified_claim = "email_verified"
leeway = 10                                                   # seconds that its clock may be from ours
max_age = 600                                                 # seconds that a key which was withdrawn stays good

Clerk's tokens name no audience but an authorized party. With both keys both have to be right; a token that names an
audience is refused where none is expected, for it is meant for somebody else (RFC 7519, section 4.1.3).
"""

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from itertools import permutations
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from usermeta_server.auth import session_tokens
from usermeta_server.errors import OperatorError
from usermeta_server.unicode import CONTROLS, first_of

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    "EdDSA",
)
"""The signatures that an issuer may use (RFC 7518, RFC 8037): asymmetric ones only."""
_MAX_PREFIX: Final = 128
"""Bytes of a prefix: half of what an external id may have."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """A trusted issuer: what its tokens have to say, where its keys are, and which claims mean what.

    `jwks` is a URL, or the path of a file. A user's external id is `prefix` and the claim named `subject_claim`.
    `audience` is None for tokens without; `authorized_party` is empty where it does not matter. `leeway` and `max_age`
    are seconds.
    """

    issuer: str
    audience: str | None
    algorithm: str
    jwks: str | Path
    subject_claim: str = "sub"
    prefix: str = ""
    verified_claim: str = "email_verified"
    email_claim: str = "email"
    authorized_party: tuple[str, ...] = ()
    leeway: int = 10
    max_age: int = 600


def load_issuers(path: Path) -> tuple[Issuer, ...]:
    """Return the issuers that a file names.

    Raises:
        OperatorError: the file cannot be read, or holds a mistake; the text names file, table and key.
    """
    issuers = tuple(_issuer(path, number, table) for number, table in enumerate(_tables(path), 1))
    _check_apart(path, issuers)
    return issuers


def _tables(path: Path) -> Sequence[object]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OperatorError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise OperatorError(f"{path}: {error}") from error
    unknown = next((key for key in content if key != "issuer"), None)
    if unknown is not None:
        raise OperatorError(f"{path}: {unknown!r}: there are only [[issuer]] tables here")
    tables = content.get("issuer")
    if not isinstance(tables, list) or not tables:
        raise OperatorError(f"{path}: needs one [[issuer]] table or more")
    return tables


def _issuer(path: Path, number: int, table: object) -> Issuer:
    if not isinstance(table, dict):
        raise OperatorError(f"{path}: [[issuer]] {number}: must be a table")
    for key, value in table.items():
        flaw = _FLAWS[key](value) if key in _FLAWS else f"is no key of an issuer; there are {', '.join(_FLAWS)}"
        if flaw:
            raise _mistake(path, number, key, flaw)
    for key in _REQUIRED:
        if key not in table:
            raise _mistake(path, number, key, "is missing")
    if "audience" not in table and "authorized_party" not in table:
        raise _mistake(path, number, "audience", "is missing, and so is authorized_party: one of them is needed")
    values: dict[str, Any] = {"audience": None, **table}
    if isinstance(values.get("authorized_party"), str):
        values["authorized_party"] = [values["authorized_party"]]
    values["authorized_party"] = tuple(values.get("authorized_party", ()))
    if "://" not in values["jwks"]:
        values["jwks"] = path.parent / values["jwks"]
        if not (os.access(values["jwks"], os.R_OK) and values["jwks"].is_file()):
            raise _mistake(path, number, "jwks", f"there is no file to read at {str(values['jwks'])!r}")
    return Issuer(**values)


def _check_apart(path: Path, issuers: Sequence[Issuer]) -> None:
    """Refuse two tables for one issuer, and prefixes with which two identities could share an external id."""
    for (_, one), (number, other) in permutations(enumerate(issuers, 1), 2):
        if other.issuer == one.issuer:
            raise _mistake(path, number, "issuer", f"{other.issuer!r} has a table already")
        if other.prefix.startswith(one.prefix):
            flaw = f"{other.prefix!r} begins with {one.prefix!r}, the prefix of {one.issuer!r}: they must be distinct"
            raise _mistake(path, number, "prefix", flaw)


def _mistake(path: Path, number: int, key: str, flaw: str) -> OperatorError:
    return OperatorError(f"{path}: [[issuer]] {number}: {_shown(key)}: {flaw}")


def _shown(key: str) -> str:
    return key if key.isprintable() else repr(key)


def _text_flaw(value: object) -> str | None:
    if not isinstance(value, str) or not value:
        return f"{value!r}: must be a string that is not empty"
    if first_of(value, CONTROLS) or value.strip() != value:
        return f"{value!r}: must not hold control characters, nor begin or end with a space"
    return None


def _texts_flaw(value: object) -> str | None:
    if not isinstance(value, list):
        return _text_flaw(value)
    return next(filter(None, map(_text_flaw, value)), None) if value else "[]: must name one at the least"


def _seconds_flaw(value: object, lowest: int, highest: int) -> str | None:
    if type(value) is int and lowest <= value <= highest:
        return None
    return f"{value!r}: must be a whole number of seconds between {lowest} and {highest}"


def _issuer_flaw(value: object) -> str | None:
    if value == session_tokens.ISSUER:
        return f"{value!r}: is the built-in issuer"
    return _text_flaw(value)


def _algorithm_flaw(value: object) -> str | None:
    return None if value in ALGORITHMS else f"{value!r}: must be one of {', '.join(ALGORITHMS)}"


def _jwks_flaw(value: object) -> str | None:
    flaw = _text_flaw(value)
    if flaw or "://" not in str(value):
        return flaw
    try:
        parts = urlsplit(str(value))
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"{value!r}: {error}"
    if not host or "@" in parts.netloc or not str(value).isascii() or " " in str(value):
        return f"{value!r}: must be the URL of a host, without a user's name"
    return None if _is_safe(parts, host) else f"{value!r}: must be an https URL (http only to this host) or a file"


def _is_safe(parts: SplitResult, host: str) -> bool:
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _prefix_flaw(value: object) -> str | None:
    if value == "":
        return None
    if isinstance(value, str) and len(value.encode()) > _MAX_PREFIX:
        return f"has {len(value.encode())} bytes; {_MAX_PREFIX} are allowed"
    return _text_flaw(value)


_FLAWS: Final[Mapping[str, Callable[[object], str | None]]] = {
    "issuer": _issuer_flaw,
    "audience": _text_flaw,
    "algorithm": _algorithm_flaw,
    "jwks": _jwks_flaw,
    "subject_claim": _text_flaw,
    "prefix": _prefix_flaw,
    "verified_claim": _text_flaw,
    "email_claim": _text_flaw,
    "authorized_party": _texts_flaw,
    "leeway": partial(_seconds_flaw, lowest=0, highest=300),
    "max_age": partial(_seconds_flaw, lowest=60, highest=86_400),
}
"""For each key of a table what is wrong with a value, if anything."""
_REQUIRED: Final = ("issuer", "algorithm", "jwks")
