"""How identifiers are compared: one version of Unicode, toNFKC_Casefold, A-labels; and what a text may not have."""

import sys
from contextlib import suppress
from hashlib import sha256

import idna
import pytest
import unicodedata2
from hypothesis import given
from hypothesis import strategies as st

from usermeta_server.core.profile import flaw
from usermeta_server.unicode import (
    CONTROLS,
    HIDDEN,
    UNICODE_VERSION,
    DomainError,
    a_labels,
    first_of,
    fold,
    fold_email_address,
)
from usermeta_server.unicode.table import IGNORABLE

OFFICIAL = "0114d909439b623a8d59f71764907827f077f0d53035c04254197120bda16d25"
"""SHA-256 of NFKC_Casefold of every code point but surrogates, a line each, of Unicode 18 (as ICU 79.1 has it)."""

CHARACTERS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
IGNORED = tuple(chr(code) for first, last in IGNORABLE for code in range(first, last + 1))
JOINER = "\u200c"

texts = st.text(max_size=8) | st.text(st.sampled_from("aAßσΣıİ\u0345\u0301\u0307\u00ad\u200bﬁé\u3164ǰ"), max_size=8)


def test_everything_is_of_one_version_of_unicode() -> None:
    """The table, the normal forms and categories, and the domains."""
    assert UNICODE_VERSION == unicodedata2.unidata_version == idna.unicode_version


def test_every_code_point_folds_as_unicode_says() -> None:
    folded = "".join(f"{fold(each)}\n" for each in CHARACTERS)
    assert sha256(folded.encode()).hexdigest() == OFFICIAL


@given(texts)
def test_folding_is_the_mapping_of_each_character_in_normal_form(text: str) -> None:
    """As D147 defines it: the property of each character of the NFD form, and NFC of that."""
    seen = "".join(each for each in text if each not in IGNORED)
    mapped = "".join(map(fold, unicodedata2.normalize("NFD", seen)))
    assert fold(text) == unicodedata2.normalize("NFC", mapped)


@given(texts)
def test_folding_again_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(texts, st.data())
def test_what_is_ignorable_makes_no_difference(text: str, data: st.DataObject) -> None:
    """Wherever it stands between characters."""
    at = data.draw(st.integers(0, len(text)))
    assert fold(text[:at] + data.draw(st.sampled_from(IGNORED)) + text[at:]) == fold(text)


def test_no_username_has_what_cannot_be_seen() -> None:
    """Of all characters those are refused within a name, and no others; alone, those that fold to nothing too."""
    hidden = {each for each in CHARACTERS if unicodedata2.category(each) in HIDDEN}
    assert all(first_of(f"a{each}b", HIDDEN) == (each if each in hidden else None) for each in CHARACTERS)
    assert not [each for each in hidden if flaw("username", f"a{each}b") is None]
    assert not [each for each in CHARACTERS if not fold(each) and not flaw("username", each)]


def test_an_ignorable_character_hides_no_space_at_an_end() -> None:
    assert flaw("username", "\u034f admin") == flaw("username", "admin \ufe0f") == "must not begin or end with a space"


@pytest.mark.parametrize("field", ["first_name", "last_name", "display_name", "external_id"])
def test_names_may_have_joiners_and_directions_but_no_ends_of_lines(field: str) -> None:
    """Persian and Sinhala names are written with joiners, an emoji flag with tags."""
    for text in ("می\u200cخواهم", "ශ්\u200dරී", "\u200fעדה", "\U0001f3f4\U000e0067\U000e007f"):
        assert flaw(field, text) is None
    for text in ("a\u2028b", "a\u2029b", "a\x85b", "a\x00b"):
        assert flaw(field, text) == f"must not hold control characters, such as U+{ord(text[1]):04X}"


# Email addresses


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("a@bücher.de", "a@xn--bcher-kva.de"),
        ("a@BÜCHER.de", "A@XN--BCHER-KVA.DE"),
        ("a@bu\u0308cher.de", "a@bücher.de"),
        ("a@bücher。de", "a@bücher.de"),
        ("a@ｂücher．de", "a@bücher.de"),
        ("a@exam\u034fple.com", "a@example.com"),
        ("é\u034f@example.com", "É@example.com"),
        ("straße@example.com", "STRASSE@example.com"),
        ("a@[IPv6:::1]", "a@[ipv6:::1]"),
    ],
)
def test_addresses_that_are_the_same(one: str, other: str) -> None:
    assert fold_email_address(one) == fold_email_address(other)
    assert flaw("email_address", one) is flaw("email_address", other) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a@straße.de", "a@strasse.de"),  # two domains, by IDNA 2008
        ("a@example.com", "b@example.com"),
        ("a@nameh.com", f"a@n\u0627{JOINER}.com"),
    ],
)
def test_addresses_that_are_not_the_same(one: str, other: str) -> None:
    assert fold_email_address(one) != fold_email_address(other)


@pytest.mark.parametrize(
    "address",
    [
        "a@localhost",
        "a@[127.0.0.1]",
        "a@[IPv6:2001:db8::1]",
        "a@r3---sn.example",
        "a@123.example",
        f"a@نامه{JOINER}ای.com",
        f"a@{'x' * 63}.example",
    ],
)
def test_addresses_that_are_taken(address: str) -> None:
    assert flaw("email_address", address) is None


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("a@example.com.", "must have a valid domain: it ends with a dot"),
        ("a@bücher.de。", "must have a valid domain: it ends with a dot"),
        ("a@example..com", "must have a valid domain: a label is empty"),
        ("a@.example.com", "must have a valid domain: a label is empty"),
        ("a@-example.com", "must have a valid domain: a hyphen stands where none may"),
        ("a@bücher-.de", "must have a valid domain: a hyphen stands where none may"),
        ("a@foo_bar.com", "must have a valid domain: it has a character that may not stand there"),
        ("a@☃.net", "must have a valid domain: it has a character that may not stand there"),
        ("a@b＠c.de", "must have a valid domain: it has a character that may not stand there"),
        (f"a@ex{JOINER}ample.com", "must have a valid domain: it has a character that may not stand there"),
        ("a@[300.0.0.1]", "must have a valid domain: it has a character that may not stand there"),
        ("a@[IPv6:fe80::1%eth0]", "must have a valid domain: it has a character that may not stand there"),
        ("a@xn--zzzzz99999.de", "must have a valid domain: a label that begins with 'xn--' is not well formed"),
        (f"a@{'x' * 64}.example", "must have a valid domain: a label is longer than 63 bytes"),
        ("ad\u00ada@example.com", "must not hold characters that cannot be seen, such as U+00AD"),
        ("a@exam\u200bple.com", "must not hold characters that cannot be seen, such as U+200B"),
        (f"ad{JOINER}a@example.com", "must not hold characters that cannot be seen, such as U+200C"),
        ("\u3164@example.com", "must hold a character that can be seen before the '@'"),
    ],
)
def test_addresses_that_are_refused(address: str, why: str) -> None:
    assert flaw("email_address", address) == why


@given(st.text(st.sampled_from("abüßא1ا.-\u200c。xn"), max_size=12))
def test_a_labels_are_in_one_form(domain: str) -> None:
    """Whatever is a valid domain, its A-labels are one, in lower case, and their own form."""
    with suppress(DomainError):
        encoded = a_labels(domain)
        assert encoded.isascii()
        assert a_labels(encoded) == encoded == encoded.lower()


def test_the_first_character_of_a_category_is_found() -> None:
    assert first_of("plain", HIDDEN) is first_of("é ü", HIDDEN) is first_of("a\u00adb", CONTROLS) is None
    assert first_of("a\x07\x00", CONTROLS) == "\x07"
    assert first_of("é\u00ad\u200b", HIDDEN) == "\u00ad"
