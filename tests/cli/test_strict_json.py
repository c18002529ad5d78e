"""JSON as commands read it: what says exactly one thing is taken as it is, all else is refused by name."""

import pytest

from usermeta_server.cli.records import from_line
from usermeta_server.cli.strict_json import read_json

TAKEN = [
    ("{}", {}),
    ("\ufeff[1]", [1]),
    ('{"a": {"b": 1}, "b": {"b": 1}}', {"a": {"b": 1}, "b": {"b": 1}}),
    ("9007199254740991", 2**53 - 1),
    ("-9007199254740991", -(2**53) + 1),
    ("[0, -0, 0.0, -0.0, 0e999, 0.000e-7]", [0, 0, 0, 0, 0, 0]),
    ("[1e2, 0.1, 5e-324, 1.5]", [100, 0.1, 5e-324, 1.5]),
    (r'"\ud83d\ude00 \u0000"', "😀 \0"),
]


@pytest.mark.parametrize(("text", "value"), TAKEN)
def test_what_says_one_thing_is_taken(text: str, value: object) -> None:
    assert read_json(text.encode()) == value


REFUSED = [
    (b'{"a": 1, "a": 1}', "'a' is there twice"),
    (b'[{"x": {"\\u0061": 1, "b": 2, "a": 3}}]', "'a' is there twice"),
    (b"1e-999", "would be 0"),
    (b"[-0.0001e-400]", "would be 0"),
    (b"1e999", "beyond"),
    (b"9007199254740992", "beyond"),
    (b"-9007199254740992.0", "beyond"),
    (b"1e16", "beyond"),
    (b"9" * 5000, "beyond"),
    (b"NaN", "NaN is no JSON number"),
    (b"[-Infinity]", "-Infinity is no JSON number"),
    (b'"\\ud800"', "surrogate"),
    (b'{"\\ud800": 1}', "surrogate"),
    (b'"\xff"', "not UTF-8: byte 2 is 0xff"),
    (b"\xff\xfe{\x00}\x00", "not UTF-8"),
    (b"[" * 100_000, "nests deeper than 32 levels"),
    (b"[" * 33 + b"]" * 33, "nests deeper than 32 levels"),
    (b"", "not JSON"),
    (b"{'a': 1}", "not JSON"),
    (b'{"a": 1,}', "not JSON"),
    (b"01", "not JSON"),
    (b'"a\tb"', "not JSON"),
    (b"{} {}", "not JSON"),
]


@pytest.mark.parametrize(("data", "text"), REFUSED)
def test_what_other_readers_drop_or_change_or_guess_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        read_json(data)
    assert len(str(caught.value)) < 150


WRONG_USERS = [
    ('{"public_metadata": {}, "publicMetadata": {}}', "'public_metadata' is there in two spellings"),
    ('{"metadata_etags": {"publicMetadata": "x", "public_metadata": "x"}}', "in two spellings"),
    ('{"nothing": 1}', "User has no field 'nothing'"),
    ('{"metadata_etags": {"nothing": 1}}', "MetadataEtags has no field 'nothing'"),
    ('{"username": 5}', "the field 'username' must be a text"),
    ('{"firstName": {"a": 1}}', "the field 'firstName' must be a text"),
    ('{"banned": "yes"}', "the field 'banned' must be true or false"),
    ('{"public_metadata": 5}', "the field 'public_metadata' must be an object"),
    ('{"metadata_etags": []}', "the field 'metadata_etags' must be an object"),
    ('{"create_time": 1}', "the field 'create_time' must be a time"),
    ("[]", "not a JSON object"),
]


@pytest.mark.parametrize(("text", "error"), WRONG_USERS)
def test_a_field_that_is_there_twice_or_that_no_user_has_is_refused(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        from_line(text.encode())


def test_keys_of_documents_are_no_fields() -> None:
    user = from_line(b'{"publicMetadata": {"first_name": 1, "firstName": 2, "nothing": {}}}')
    assert dict(user.public_metadata.items()).keys() == {"first_name", "firstName", "nothing"}
