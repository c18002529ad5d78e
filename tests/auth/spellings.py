"""Other spellings of a signed token, which lenient decoders of base64 take for the same."""

import base64
import string
from collections.abc import Iterator

ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


def other_spellings(token: str) -> Iterator[str]:
    """Yield texts that a lenient decoder reads as this token."""
    header, payload, signature = token.split(".")
    for padding in ("=", "==", "===", "====", "\n", " ", "\t", "=\n"):
        yield f"{token}{padding}"
    for filler in (" ", "\n", "!", "*", "\u00e9"):
        yield f"{header}.{payload}.{signature[:4]}{filler}{signature[4:]}"
        yield f"{header}{filler}.{payload}.{signature}"
        yield f"{header}.{filler}{payload}.{signature}"
    yield f"{header}.{payload}=.{signature}"
    yield f"{header}==.{payload}.{signature}"
    classic = signature.replace("-", "+").replace("_", "/")
    if classic != signature:
        yield f"{header}.{payload}.{classic}"
    decoded = base64.urlsafe_b64decode(signature + "==")
    for last in ALPHABET:
        changed = signature[:-1] + last
        if changed != signature and base64.urlsafe_b64decode(changed + "==") == decoded:
            yield f"{header}.{payload}.{changed}"
