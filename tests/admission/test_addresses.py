"""Where a call comes from, by its peer and by what proxies say."""

from ipaddress import ip_network
from typing import Final

import pytest

from usermeta_server.admission.addresses import source_of

PROXIES: Final = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))

SOURCES: Final = [
    ("192.0.2.7", [], "192.0.2.7"),
    ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
    ("2001:db8:1:2::1", [], "2001:db8:1:2::/64"),
    ("::ffff:192.0.2.7", [], "192.0.2.7"),
    ("", [], ""),
    ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),  # not a proxy: what it says counts for nothing
    ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
    ("10.0.0.1", [b"198.51.100.1"], "198.51.100.1"),
    ("fd00::1", ["2001:db8:1:2::9"], "2001:db8:1:2::/64"),
    ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),  # what the caller itself wrote is at the left
    ("10.0.0.1", ["203.0.113.9", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
    ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
    ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ("10.0.0.1", [], "10.0.0.1"),
    ("10.0.0.1", [""], "10.0.0.1"),
]


@pytest.mark.parametrize(("peer", "forwarded", "source"), SOURCES)
def test_the_last_address_that_is_no_proxy_is_the_callers(peer: str, forwarded: list[str | bytes], source: str) -> None:
    assert source_of(peer, forwarded, PROXIES) == source


def test_without_proxies_nobody_is_believed() -> None:
    assert source_of("10.0.0.1", ["198.51.100.1"], ()) == "10.0.0.1"
