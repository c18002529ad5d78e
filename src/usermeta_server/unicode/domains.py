"""The domains of email addresses: which are valid, and the one form of each that DNS knows."""

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import idna
import unicodedata2

# idna has tables of its own for what a domain may hold, but asks Python's for directions and normal forms.
idna.core.unicodedata = unicodedata2  # type: ignore[attr-defined]  # what it imports, not what it offers

_LABEL: Final = r"(?!xn--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
"""A host name (RFC 1123, section 2.1) in which nothing is internationalized."""

_REMEMBERED: Final = 4096
"""How many domains are worked out only once: most addresses share few, and one takes 90 microseconds."""

_REASONS: Final[Mapping[str, str]] = {
    "domain_too_long": "it is longer than 253 characters",
    "input_too_long": "it is longer than 253 characters",
    "label_too_long": "a label is longer than 63 bytes",
    "empty_domain": "a label is empty",
    "empty_label": "a label is empty",
    "hyphen_3_4": "a hyphen stands where none may",
    "hyphen_start_end": "a hyphen stands where none may",
    "invalid_alabel": "a label that begins with 'xn--' is not well formed",
    "non_canonical_alabel": "a label that begins with 'xn--' is not well formed",
}


class DomainError(ValueError):
    """A domain is not valid; the text says why."""


@lru_cache(_REMEMBERED)
def a_labels(domain: str) -> str:
    """Return a domain by its A-labels, in lower case (UTS 46 without transitional processing, IDNA 2008).

    An address literal (RFC 5321, section 4.1.3) stays one.

    Raises:
        DomainError: it is not valid.
    """
    lower = domain.lower()
    if lower.isascii() and (_HOST_NAME.fullmatch(lower) or _is_literal(lower)):
        return lower
    try:
        encoded = idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
    except idna.IDNAError as error:
        reason = _REASONS.get(error.code or "", "it has a character that may not stand there")
        raise DomainError(reason) from error
    if encoded.endswith("."):
        raise DomainError("it ends with a dot")
    return encoded


def _is_literal(text: str) -> bool:
    if not (text.startswith("[") and text.endswith("]")):
        return False
    try:
        if text.startswith("[ipv6:"):
            return IPv6Address(text[6:-1]).scope_id is None
        return bool(IPv4Address(text[1:-1]))
    except ValueError:
        return False
