"""base64url without padding (RFC 4648, section 5; RFC 7515, section 2), in which bytes have one spelling only."""

import base64


def encode(data: bytes) -> str:
    """Return how bytes are spelled."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes that a text spells.

    Raises:
        ValueError: it is not how `encode` spells any: with padding, white space, characters of another alphabet, or
            bits set that no byte has.
    """
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if encode(data) != text:
        raise ValueError("not the one spelling in base64url")
    return data
