"""JSON values as the service keeps them: their types, their one written form, their equality.

A value is never changed in place once it is part of a document: documents share what they
have in common, with each other and with the requests that they came from.
"""

import orjson

from usermeta_server.values import Json, JsonObject

MAX_NUMBER = 2**53 - 1
"""The largest magnitude of a number: up to it every integer is exact as a double (RFC 8259, section 6)."""


def dump(value: Json) -> bytes:
    """Write a value as compact UTF-8 JSON, its keys sorted by code point.

    Equal values in normal form give equal bytes. A NaN or an infinity is written as `null`:
    `limits.seal` refuses them first.

    Raises:
        TypeError: A string holds a lone surrogate, an integer has more than 64 bits, or the
            value nests deeper than orjson writes (254).
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def load(data: bytes | str) -> JsonObject:
    """Read a document back from its JSON text.

    Raises:
        ValueError: The text is not JSON, or its root is not an object.
    """
    document: Json = orjson.loads(data)
    if not isinstance(document, dict):
        message = "the root of a document is an object"
        raise ValueError(message)  # noqa: TRY004  # the text is wrong, not the argument's type
    return document


def measure(value: Json) -> int:
    """Return how many bytes `dump` writes for a value, without the cost of sorting its keys.

    Raises:
        TypeError: As `dump` does.
    """
    return len(orjson.dumps(value))


def equal(a: Json, b: Json) -> bool:
    """Tell whether two values are the same JSON, compared by type (RFC 6902, section 4.6).

    Numbers compare by value, so `1` equals `1.0`; `true` is not `1`; the order of keys does
    not matter, that of list items does.
    """
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(equal, a, b))
    return isinstance(a, bool) is isinstance(b, bool) and a == b


def normal_number(number: int | float) -> int | float:  # noqa: PYI041  # an int stays one
    """Return a number in normal form: an `int` where it is whole and within `MAX_NUMBER`.

    So `2.0` becomes `2` and `-0.0` becomes `0`. Fractions, larger numbers, NaN and infinities
    come back as they are.
    """
    if isinstance(number, float) and number.is_integer() and abs(number) <= MAX_NUMBER:
        return int(number)
    return number


def normal_form(value: Json) -> Json:
    """Return a copy of a value with every number in it in normal form."""
    if isinstance(value, dict):
        return {key: normal_form(member) for key, member in value.items()}
    if isinstance(value, list):
        return [normal_form(item) for item in value]
    return normal_number(value) if isinstance(value, float) else value
