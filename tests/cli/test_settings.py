"""Settings: what values mean, which wins, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from usermeta_server.errors import OperatorError
from usermeta_server.settings import MEMORY, ClientSettings, ServerSettings, read

MEANT: list[tuple[str, str, Any]] = [
    ("database_url", "sqlite:///data/usermeta.db", Path("data/usermeta.db")),
    ("database_url", "sqlite:////srv/usermeta.db", Path("/srv/usermeta.db")),
    ("database_url", "memory://", MEMORY),
    ("listen", "[::1]:0", "[::1]:0"),
    ("tls_cert", "cert.pem", Path("cert.pem")),
    ("tls_cert", "", None),
    ("reflection", "off", False),
    ("reflection", "TRUE", True),
    ("metadata_max_bytes", "8192", 8192),
    ("metadata_max_bytes", "64K", 65536),
    ("cache", "1G", 1 << 30),
    ("cache", "256MiB", 256 << 20),
    ("cache", "16mb", 16 << 20),
    ("shutdown_grace", "0.5", 0.5),
    ("shutdown_grace", "5m", 300.0),
    ("shutdown_grace", "1h", 3600.0),
]


@pytest.mark.parametrize(("name", "text", "value"), MEANT)
def test_a_setting_is_read_from_flag_and_environment_alike(name: str, text: str, value: object) -> None:
    by_flag = read(ServerSettings, {}, {name: text})
    by_environment = read(ServerSettings, {f"USERMETA_{name.upper()}": text}, {name: None})
    assert by_flag == by_environment
    assert getattr(by_flag, name) == value


REFUSED = [
    ("database_url", "sqlite:///"),
    ("database_url", "usermeta.db"),
    ("listen", "50051"),
    ("listen", "localhost:123456"),
    ("reflection", ""),
    ("access_log", "some"),
    ("cache", "-1"),
    ("cache", "1T"),
    ("shutdown_grace", "soon"),
]


@pytest.mark.parametrize(("name", "text"), REFUSED)
def test_a_value_that_is_none_is_refused_with_its_source(name: str, text: str) -> None:
    with pytest.raises(OperatorError, match=f"--{name.replace('_', '-')}"):
        read(ServerSettings, {}, {name: text})
    with pytest.raises(OperatorError, match=f"USERMETA_{name.upper()}"):
        read(ServerSettings, {f"USERMETA_{name.upper()}": text}, {})


def test_the_defaults_are_those_of_the_contract() -> None:
    chosen = read(ServerSettings, {}, {})
    assert chosen == ServerSettings()
    assert chosen.database_url == Path("data/usermeta.db")
    assert (chosen.listen, chosen.metadata_max_bytes, chosen.profiles) == ("127.0.0.1:50051", 8192, "anyone")
    assert chosen.reflection
    assert read(ClientSettings, {}, {}).address == "127.0.0.1:50051"


def test_a_flag_wins_over_the_environment() -> None:
    chosen = read(ServerSettings, {"USERMETA_LISTEN": "127.0.0.1:1"}, {"listen": "127.0.0.1:2"})
    assert chosen.listen == "127.0.0.1:2"
