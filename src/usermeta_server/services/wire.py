"""The little of protobuf's wire format that is needed to put messages together from bytes that were kept."""

from typing import Final

_LENGTH_DELIMITED: Final = 2


def tag_of(number: int) -> bytes:
    """Return what is before a field that holds a message, a string or bytes."""
    return _varint(number << 3 | _LENGTH_DELIMITED)


def delimited(data: bytes) -> bytes:
    """Return bytes with their length before them, as such a field has them after its tag."""
    length = len(data)
    return (_SHORT[length] if length < len(_SHORT) else _varint(length)) + data


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004  # seven bits to a byte
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_SHORT: Final = tuple(map(_varint, range(1024)))
