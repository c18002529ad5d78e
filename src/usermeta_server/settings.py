"""The settings: one table, from which flags, environment and help come; the only reader of the environment."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from dataclasses import field as dataclass_field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final, TypeVar

from usermeta_server.errors import OperatorError

S = TypeVar("S")
N = TypeVar("N", int, float)

PREFIX: Final = "USERMETA_"

_MAX_PORT: Final = 65535
_SIZES: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)", text.strip().upper().removesuffix("IB").removesuffix("B"))
    if not match:
        raise ValueError("must be a number of bytes, such as 8192 or 256M")
    return int(match[1]) * _SIZES[match[2]]


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not match:
        raise ValueError("must be a duration, such as 10s, 5m or 24h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _between(parse: Callable[[str], N], least: N, most: N, what: str) -> Callable[[str], N]:
    def bounded(text: str) -> N:
        value = parse(text)
        if not least <= value <= most:
            raise ValueError(f"must be {what}")
        return value

    return bounded


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,15}", text.strip()):
        raise ValueError("must be a number")
    return int(text)


_idle = _between(_seconds, 1.0, float(1 << 31), "1s or more")
_changes = _between(_count, 1, 1 << 50, "1 or more")
_document_size = _between(_size, 2, 128 << 10, "2 to 128K: three documents and what is around them go in one message")


def _switch(text: str) -> bool:
    known = {"on": True, "true": True, "1": True, "yes": True, "off": False, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise ValueError("must be on or off")
    return known[text.lower()]


def _one_of(*values: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return text

    return parse


MEMORY: Final = Path("memory:")
"""Stands for a store in memory, which is gone with the process."""


def _database(text: str) -> Path:
    if text == "memory://":
        return MEMORY
    if not text.startswith("sqlite:///") or text == "sqlite:///":
        raise ValueError("must be sqlite:///PATH (four slashes before an absolute path), or memory://")
    return Path(text.removeprefix("sqlite:///"))


def _rates(text: str) -> tuple[tuple[str, float], ...]:
    pairs = [each.strip().partition("=") for each in text.split(",") if each.strip()]
    if not all(re.fullmatch(r"\d+(?:\.\d+)?", rate) for _, _, rate in pairs):
        raise ValueError("must be calls a second, such as user.reads=100,secret_key.writes=500; 0 for any number")
    return tuple((name, float(rate)) for name, _, rate in pairs)


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(name) for name in _names(text))


def _address(text: str) -> str:
    match = re.fullmatch(r"\S+:(\d{1,5})", text)
    if not match or int(match[1]) > _MAX_PORT:
        raise ValueError("must be HOST:PORT")
    return text


def _file(text: str) -> Path | None:
    return Path(text) if text else None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _text(text: str) -> str:
    return text


def _setting(default: str, parse: Callable[[str], Any], what: str) -> Any:  # noqa: ANN401  # as dataclasses.field
    return dataclass_field(default=parse(default), metadata={"default": default, "parse": parse, "help": what})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What `usermeta serve` can be told, by flag or environment; times are seconds, sizes bytes."""

    database_url: Path = _setting(
        "sqlite:///data/usermeta.db",
        _database,
        "Where users are kept: sqlite:///PATH; memory:// for trying out.",
    )
    listen: str = _setting("127.0.0.1:50051", _address, "Address to listen on: HOST:PORT; port 0 takes a free one.")
    tls_cert: Path | None = _setting("", _file, "Certificate chain (PEM). With it and a key, the server speaks TLS.")
    tls_key: Path | None = _setting("", _file, "Private key of the certificate (PEM).")
    reflection: bool = _setting("on", _switch, "Whether clients may ask for the protos: on, off.")
    access_log: str = _setting("all", _one_of("all", "errors", "off"), "Which calls are logged: all, errors, off.")
    profiles: str = _setting(
        "anyone", _one_of("anyone", "signed_in", "off"), "Who may read profiles: anyone, signed_in, off."
    )
    sign_up_required: tuple[str, ...] = _setting(
        "email_address", _names, "What a sign-up must have: fields, and paths in unsafe_metadata, with commas between."
    )
    sign_up_completion: str = _setting(
        "open", _one_of("open", "attested"), "Who completes sign-ups: open (their holders too), attested (backends)."
    )
    sign_up_idle: float = _setting(
        "24h",
        _between(_seconds, 1, 1 << 31, "1s or more"),
        "How long a sign-up may be idle before it counts as abandoned.",
    )
    issuers: Path | None = _setting("", _file, "A TOML file that names the outside issuers to trust.")
    history_age: float = _setting("2160h", _seconds, "How long changes are kept (90 days unless told otherwise).")
    history_count: int = _setting(
        "10000000", _between(_count, 1, 1 << 50, "1 or more"), "How many changes are kept at the most."
    )
    metadata_max_bytes: int = _setting(
        "8K", _between(_size, 2, 128 << 10, "2 to 128K"), "Largest document, as compact JSON."
    )
    cache: int = _setting("128M", _size, "Memory for users at hand, and as much again for their replies.")
    search: float = _setting("5s", _seconds, "How long a search may scan before it asks for an index.")
    lock_timeout: float = _setting(
        "2s",
        _between(_seconds, 0, 60, "0s to 60s"),
        "How long a write waits for another process that holds the database's lock, such as a backup.",
    )
    limits: str = _setting(
        "on",
        _one_of("on", "log", "off"),
        "Whether a caller's calls are limited: on, log (only count what would be refused), off.",
    )
    rates: tuple[tuple[str, float], ...] = _setting(
        "",
        _rates,
        "Calls a second that each caller may make, such as user.reads=100,secret_key.writes=500; 0 for any number.",
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = _setting(
        "", _networks, "Networks of proxies whose x-forwarded-for says where a call comes from, with commas between."
    )
    shutdown_grace: float = _setting("10s", _seconds, "How long calls under way may take to finish at shutdown.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What the commands that call a running server can be told."""

    address: str = _setting("127.0.0.1:50051", _text, "The server: HOST:PORT, or https://HOST:PORT for TLS.")
    key: str = _setting("", _text, "A secret key of the server.")
    tls_ca: Path | None = _setting("", _file, "Certificates (PEM) to trust instead of the system's.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """What `usermeta relay` can be told besides; the secret's form is checked where no error can show it."""

    webhook_secret: str = _setting("", _text, "The secret that signs what is posted: whsec_….")


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def read(kind: type[S], environment: Mapping[str, str], flags: Mapping[str, str | None]) -> S:
    """Return settings from flags, for what those leave out from the environment, and for the rest by default.

    Raises:
        OperatorError: a value is not what its setting takes.
    """
    values: dict[str, Any] = {}
    for setting in fields(kind):  # type: ignore[arg-type]  # each kind is a dataclass
        name = setting.name
        text = flags.get(name)
        source = f"--{name.replace('_', '-')}"
        if text is None:
            text, source = environment.get(variable(name)), variable(name)
        if text is None:
            continue
        try:
            values[name] = setting.metadata["parse"](text)
        except ValueError as error:
            raise OperatorError(f"{source}={text!r}: {error}") from error
    return kind(**values)
