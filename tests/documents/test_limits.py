"""The limits on a document, and the bytes that an accepted one becomes."""

import pytest

from usermeta_server.core.documents import MAX_NUMBER, Limits, dump, equal, load, normal_form, normal_number, seal
from usermeta_server.core.documents.json_pointer import shown
from usermeta_server.core.documents.limits import depth
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.values import Json, JsonObject

LIMITS = Limits()
FIELD = "public_metadata"


def refusal(document: JsonObject, limits: Limits = LIMITS) -> UsermetaError:
    """Return the error that sealing a document raises."""
    with pytest.raises(UsermetaError) as caught:
        seal(document, FIELD, limits)
    assert caught.value.metadata["field"] == FIELD
    assert [each.field for each in caught.value.violations] == [FIELD]
    return caught.value


def nested(levels: int, *, lists: bool = False) -> JsonObject:
    """Return a document of so many levels, below the root made of objects or of lists."""
    value: Json = [] if lists else {}
    for _ in range(levels - 2):
        value = [value] if lists else {"a": value}
    return {"a": value}


def test_defaults() -> None:
    """Without configuration a document takes 8 KiB, 16 levels and keys of 256 bytes."""
    assert (LIMITS.max_bytes, LIMITS.max_depth, LIMITS.max_key_bytes) == (8192, 16, 256)


def test_canonical_bytes() -> None:
    """Keys are sorted by code point at every level, without spaces, in UTF-8."""
    document: JsonObject = {"b": [1, {"z": None, "é": True}], "a": "ü", "\U0001f600": 1, "\uffff": 2}
    expected = '{"a":"ü","b":[1,{"z":null,"é":true}],"\uffff":2,"\U0001f600":1}'
    assert seal(document, FIELD, LIMITS) == expected.encode()


def test_numbers_are_written_in_normal_form() -> None:
    """Whole floats become integers, minus zero becomes zero, and the given document stays as it is."""
    document: JsonObject = {"a": 2.0, "b": [-0.0, 1e15], "c": {"d": 0.5}}
    assert seal(document, FIELD, LIMITS) == b'{"a":2,"b":[0,1000000000000000],"c":{"d":0.5}}'
    assert isinstance(document["a"], float)


def test_size_bound() -> None:
    """8192 bytes of JSON are accepted and 8193 are refused, counted in UTF-8 bytes."""
    assert len(seal({"a": "é" * 4092}, FIELD, LIMITS)) == 8192
    error = refusal({"a": "é" * 4092 + "x"})
    assert error.reason is Reason.METADATA_TOO_LARGE
    assert error.metadata == {"field": FIELD, "path": "", "size": "8193", "limit": "8192"}
    assert "8193" in error.message
    assert "8192" in error.message


def test_size_counts_the_normal_form() -> None:
    """A document that fits once its numbers are in normal form is accepted."""
    assert seal({"a": 1.0}, FIELD, Limits(max_bytes=7)) == b'{"a":1}'


@pytest.mark.parametrize("lists", [False, True])
def test_depth_bound(*, lists: bool) -> None:
    """16 levels are accepted, 17 are refused with the path of the first container too deep."""
    document = nested(16, lists=lists)
    assert load(seal(document, FIELD, LIMITS)) == document
    error = refusal(nested(17, lists=lists))
    assert error.reason is Reason.METADATA_TOO_DEEP
    assert error.metadata["path"] == "/a" + ("/0" if lists else "/a") * 15
    assert (error.metadata["size"], error.metadata["limit"]) == ("17", "16")
    assert "17" in error.message
    assert "16" in error.message


def test_very_deep_documents_are_refused_not_crashed_on() -> None:
    """Nesting far past what Python recurses through is an ordinary refusal that tells the whole depth."""
    error = refusal(nested(5000))
    assert error.reason is Reason.METADATA_TOO_DEEP
    assert error.metadata["size"] == "5000"


@pytest.mark.parametrize(("value", "levels"), [(1, 0), ("[{", 0), ({}, 1), ([], 1), ([{}, 1], 2), ({"a": [[]]}, 3)])
def test_depth_counts_containers(value: Json, levels: int) -> None:
    """Each object and each list on the longest way down counts one."""
    assert depth(value) == levels


@pytest.mark.parametrize("key", ["k", "k" * 256, "é" * 128, "\U0001f600" * 64, "a.b/c~d"])
def test_keys_that_fit(key: str) -> None:
    """Keys of 1 to 256 UTF-8 bytes are accepted, whatever their characters."""
    assert load(seal({"a": [{key: 1}]}, FIELD, LIMITS)) == {"a": [{key: 1}]}


@pytest.mark.parametrize(("key", "size"), [("", 0), ("k" * 257, 257), ("é" * 129, 258), ("\U0001f600" * 65, 260)])
def test_keys_that_do_not_fit(key: str, size: int) -> None:
    """An empty key, and one past 256 UTF-8 bytes, is refused with the length found and allowed."""
    error = refusal({"a": [{"ok": 1}, {key: 1}]})
    assert error.reason is Reason.METADATA_KEY_INVALID
    assert error.metadata["path"] == shown("/a/1/" + key)
    assert (error.metadata["size"], error.metadata["limit"]) == (str(size), "256")
    assert f"{size} bytes" in error.message


@pytest.mark.parametrize("flaw", ["\0", chr(0xD800), chr(0xDFFF)])
def test_strings_and_keys_that_no_client_could_read(flaw: str) -> None:
    """U+0000 and lone surrogates are refused with their path, in values and in keys."""
    error = refusal({"a/b": ["fine", f"x{flaw}y"]})
    assert error.reason is Reason.METADATA_STRING_INVALID
    assert error.metadata["path"] == "/a~1b/1"
    assert refusal({"a": {f"k{flaw}": 1}}).reason is Reason.METADATA_KEY_INVALID


def test_a_written_out_escape_is_ordinary_text() -> None:
    r"""The six characters `\u0000` are not U+0000."""
    document: JsonObject = {"\\u0000": "\\u0000"}
    assert load(seal(document, FIELD, LIMITS)) == document


NUMBERS_REFUSED = [float("nan"), float("inf"), float("-inf"), 2**53, -(2**53), float(2**53), 1e300, 2**64, -(10**400)]


@pytest.mark.parametrize("number", NUMBERS_REFUSED)
def test_numbers_that_would_change(number: float) -> None:
    """NaN, infinities and anything past 2^53-1 are refused with their path, never written as null."""
    error = refusal({"fine": MAX_NUMBER, "a": [1, {"b": number}]})
    assert error.reason is Reason.NUMBER_NOT_REPRESENTABLE
    assert error.metadata["path"] == "/a/1/b"


@pytest.mark.parametrize("number", [0, MAX_NUMBER, -MAX_NUMBER, 0.1, -1.5e-7, 5e-324, 4503599627370495.5])
def test_numbers_that_are_kept(number: float) -> None:
    """Every other number is read back exactly, an integer as an integer."""
    kept = load(seal({"n": number}, FIELD, LIMITS))["n"]
    assert kept == number
    assert type(kept) is type(number)


@pytest.mark.parametrize(
    ("number", "normal"),
    [(2.0, 2), (-0.0, 0), (7, 7), (1.5, 1.5), (float(MAX_NUMBER), MAX_NUMBER), (float(2**53), float(2**53))],
)
def test_normal_number(number: float, normal: float) -> None:
    """A whole float within 2^53-1 becomes an int; any other number stays as it is."""
    assert repr(normal_number(number)) == repr(normal)


def test_normal_form_leaves_booleans_alone() -> None:
    """Only numbers change in the normal form."""
    assert repr(normal_form({"a": [True, 1.0, None, "1.0"]})) == repr({"a": [True, 1, None, "1.0"]})


SAME: list[tuple[Json, Json]] = [
    (1, 1.0),
    (0, -0.0),
    ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}),
    (None, None),
    ([], []),
]
DIFFERENT: list[tuple[Json, Json]] = [
    (True, 1),
    (False, 0),
    (0, None),
    ("1", 1),
    ([], {}),
    ({}, None),
    ([1, 2], [2, 1]),
    ([1], [1, 1]),
    ({"a": None}, {}),
    ({"a": None}, {"b": None}),
    ({"a": [{"b": True}]}, {"a": [{"b": 1}]}),
]


@pytest.mark.parametrize(("a", "b", "same"), [(*pair, True) for pair in SAME] + [(*pair, False) for pair in DIFFERENT])
def test_equal(a: Json, b: Json, *, same: bool) -> None:
    """Values compare by JSON type and content, both ways round."""
    assert equal(a, b) is same
    assert equal(b, a) is same


def test_load_refuses_what_is_not_a_document() -> None:
    """Stored text that is broken, or whose root is no object, is not taken for a document."""
    assert load(dump({"a": 1})) == {"a": 1}
    for text in (b"[1]", b"null", b"{", b""):
        with pytest.raises(ValueError, match=r"object|line|empty"):
            load(text)
