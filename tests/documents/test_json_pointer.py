"""JSON pointers: RFC 6901."""

import pytest

from usermeta_server.core.documents.json_pointer import (
    PathMissingError,
    PathScalarError,
    Tokens,
    format_pointer,
    parents,
    parse,
    position,
    resolve,
    shown,
)
from usermeta_server.values import Json, JsonObject

# RFC 6901, section 5.
DOCUMENT: JsonObject = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_rfc_examples(pointer: str, value: Json) -> None:
    """Every pointer of the RFC's example names the RFC's value and is written back the same."""
    tokens = parse(pointer)
    assert resolve(DOCUMENT, tokens) == value
    assert format_pointer(tokens) == pointer


@pytest.mark.parametrize(
    ("pointer", "tokens"),
    [("/~01", ("~1",)), ("/~10", ("/0",)), ("/~0~1", ("~/",)), ("//", ("", "")), ("/a/", ("a", ""))],
)
def test_escapes_are_read_once(pointer: str, tokens: Tokens) -> None:
    """`~01` is `~1`, never `/`, and empty tokens count."""
    assert parse(pointer) == tokens
    assert format_pointer(tokens) == pointer


@pytest.mark.parametrize("pointer", ["a", "a/b", "#/a", " /a", "/~", "/~2", "/a~", "/~~0", "/ok/~x"])
def test_malformed_pointers_are_refused(pointer: str) -> None:
    """A pointer without its slash, or with a bare tilde, is not read."""
    with pytest.raises(ValueError, match="JSON pointer"):
        parse(pointer)


@pytest.mark.parametrize(
    ("token", "index"),
    [
        ("0", 0),
        ("9", 9),
        *((bad, None) for bad in ("10", "01", "00", "-1", "+1", "-", "", "x", "1.0", "1e0", " 1", "1\n", "\u0661")),
        ("9" * 5000, None),
    ],
)
def test_positions_in_a_list_of_ten(token: str, index: int | None) -> None:
    """Only ASCII digits without a leading zero, below the length, are an index."""
    assert position(token, 10) == index


@pytest.mark.parametrize("tokens", [("b",), ("a", "b"), ("l", "2"), ("l", "-"), ("l", "x"), ("b", "c")])
def test_missing_places(tokens: Tokens) -> None:
    """A member or an item that is not there is missing, and the error names the whole pointer."""
    with pytest.raises(PathMissingError) as caught:
        resolve({"a": {}, "l": [1, 2]}, tokens)
    assert caught.value.tokens == tokens


@pytest.mark.parametrize("scalar", ["text", 1, 1.5, True, None])
def test_scalars_have_nothing_inside(scalar: Json) -> None:
    """A step into a scalar is told from a missing member, also where only the parent is asked for."""
    with pytest.raises(PathScalarError):
        resolve({"a": scalar}, ("a", "b"))
    with pytest.raises(PathScalarError):
        parents({"a": scalar}, ("a", "b"))


def test_parents_of_a_place_that_need_not_exist() -> None:
    """The containers above a place come root first."""
    document: JsonObject = {"a": [{"b": 1}]}
    assert parents(document, ("a", "0", "new")) == [document, [{"b": 1}], {"b": 1}]


def test_long_pointers_are_shortened_in_errors() -> None:
    """A pointer in an error is at most 256 characters long and always encodable."""
    assert shown("/" + "k" * 254) == "/" + "k" * 254
    assert shown("/" + "k" * 400) == "/" + "k" * 254 + "…"
    assert shown("/\ud800") == "/\\ud800"
