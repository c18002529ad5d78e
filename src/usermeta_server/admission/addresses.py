"""Where a call comes from: what stands for a caller without a credential."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_SUBSCRIBER: Final = 64
"""The prefix of IPv6 that one subscriber has, with all its addresses (RFC 6177)."""


def source_of(peer: str, forwarded: Sequence[str | bytes], proxies: Iterable[Network]) -> str:
    """Return what stands for where a call comes from: an IPv4 address, the /64 of an IPv6 one, or the peer as it is.

    Args:
        peer: the address at the other end of the connection, empty for none, as with a Unix socket.
        forwarded: the call's `x-forwarded-for` headers, which count only from a trusted proxy: each proxy adds at the
            right whom it was called by, so the last one that is no proxy is the caller.
        proxies: which peers are trusted.
    """
    return _source(peer, b",".join(map(_bytes, forwarded)), tuple(proxies))


@lru_cache(maxsize=10_000)
def _source(peer: str, forwarded: bytes, proxies: tuple[Network, ...]) -> str:
    address = _address(peer)
    hops = forwarded.decode("ascii", "replace").split(",")
    while address and _is_in(address, proxies) and hops:
        before = _address(hops.pop().strip())
        if before is None:
            break
        address = before
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _SUBSCRIBER), strict=False))
    return str(address or peer)


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _bytes(header: str | bytes) -> bytes:
    return header.encode("ascii", "replace") if isinstance(header, str) else header
