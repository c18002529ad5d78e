"""What the service needs of Unicode: how identifiers are compared, and which characters a text may not have.

All of it is of one version of Unicode, under every Python and on every machine: an identifier that is kept must be
the same to every process that ever opens the store.
"""

import re
from collections.abc import Container, Iterable, Mapping
from typing import Final

import unicodedata2

from usermeta_server.unicode.domains import DomainError, a_labels
from usermeta_server.unicode.table import FOLDED_TO_MANY, FOLDED_TO_ONE, IGNORABLE, UNICODE_VERSION

__all__ = [
    "CONTROLS",
    "FOLD_VERSION",
    "HIDDEN",
    "UNICODE_VERSION",
    "DomainError",
    "a_labels",
    "first_of",
    "fold",
    "fold_email_address",
]

FOLD_VERSION: Final = f"{UNICODE_VERSION}-1"
"""What identifiers were folded by: the version of Unicode, and the number of our own rules. Another one is a refold."""

CONTROLS: Final = frozenset({"Cc", "Zl", "Zp"})
"""The general categories (UAX 44) of what ends a line or commands a terminal."""
HIDDEN: Final = CONTROLS | {"Cf", "Co", "Cs", "Cn"}
"""The general categories of what cannot be seen, or is something else on every screen."""

_FOLDED: Final[Mapping[int, str]] = {
    **{code: chr(code + added) for first, last, step, added in FOLDED_TO_ONE for code in range(first, last + 1, step)},
    **FOLDED_TO_MANY,
}


def _any_of(ranges: Iterable[tuple[int, int]]) -> re.Pattern[str]:
    """Return what finds the characters of some ranges; that there are none it sees faster than `str.translate`."""
    return re.compile(f"[{''.join(f'{chr(first)}-{chr(last)}' for first, last in ranges)}]")


_IGNORED: Final = _any_of(IGNORABLE)
_CASED: Final = _any_of(
    [*((first, last) for first, last, *_ in FOLDED_TO_ONE), *((each, each) for each in FOLDED_TO_MANY)]
)


def fold(text: str) -> str:
    """Return the form in which texts are compared: without regard to case, to variants, and to what is not seen.

    It is toNFKC_Casefold of the NFD form (Unicode, section 3.13, D147), and folding it again changes nothing. What is
    ignorable goes first: it would keep marks from their order.
    """
    if text.isascii():
        return text.lower()
    text = unicodedata2.normalize("NFD", _IGNORED.sub("", text))
    while (folded := unicodedata2.normalize("NFKC", _CASED.sub(_case_folded, text))) != text:
        text = folded
    return text


def _case_folded(found: re.Match[str]) -> str:
    return _FOLDED.get(ord(found[0]), found[0])


def fold_email_address(address: str) -> str:
    """Return the form in which email addresses are compared: `fold` of the local part, A-labels of the domain.

    What has no valid domain, and so is no address of anybody, is folded as any other text.
    """
    if address.isascii():
        return address.lower()
    local, at, domain = address.rpartition("@")
    try:
        return f"{fold(local)}@{a_labels(domain)}" if at else fold(address)
    except DomainError:
        return fold(address)


def first_of(text: str, categories: Container[str]) -> str | None:
    """Return the first character of a text that is of these general categories."""
    if text.isascii() and text.isprintable():
        return None
    return next((each for each in text if unicodedata2.category(each) in categories), None)
