"""Users to begin a test with."""

import uuid
from typing import Any, Final


def unique(stem: str = "Ada") -> str:
    """Return a name that no other test uses."""
    return f"{stem}-{uuid.uuid4().hex}"


def full() -> dict[str, Any]:
    """Return every field of a user that a backend may write, documents apart."""
    name = unique()
    return {
        "external_id": f"idp|{name}",
        "username": name,
        "email_address": f"{name}@Example.com",
        "email_address_verified": True,
        "first_name": "Ada",
        "last_name": "Lovelace",
        "image_url": "https://example.com/ada.png",
        "banned": True,
    }


INVALID_FIELDS: Final = [
    ("username", "x" * 257),
    ("username", " ada"),
    ("username", "a\nb"),
    ("username", "a\x00b"),
    ("username", "a\u00addmin"),
    ("username", "a\u202edmin"),
    ("username", "a\U000e0061"),
    ("username", "a\ue000"),
    ("username", "a\u0378"),
    ("username", "a\u2028b"),
    ("username", "\u200b"),
    ("username", "\u3164"),
    ("username", "\u115f\u034f"),
    ("first_name", "é" * 257),
    ("first_name", "a\u2029b"),
    ("last_name", "trailing "),
    ("external_id", "é" * 129),
    ("external_id", "a\u2028b"),
    ("email_address", "nobody"),
    ("email_address", "a@b@c"),
    ("email_address", "a b@example.com"),
    ("email_address", "a\u200bb@example.com"),
    ("email_address", "a@exam\u00adple.com"),
    ("email_address", "\u3164@example.com"),
    ("email_address", "a@example..com"),
    ("email_address", "x" * 251 + "@b.c"),
    ("image_url", "http://example.com/a.png"),
    ("image_url", "https://"),
    ("image_url", "javascript:alert(1)"),
    ("image_url", "https://example.com/a b"),
    ("image_url", "https://example.com/a\u200b"),
    ("image_url", "https://[::1"),
    ("image_url", "https://example.com/" + "x" * 2029),
]
"""Fields of a profile, and values that they do not take."""
