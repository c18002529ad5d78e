"""Documents written lately, by their text as values too: what follows a write parses and checks only what is new."""

from typing import Final

from usermeta_server.core.documents.canonical import JsonObject, load
from usermeta_server.core.documents.limits import Limits, encode, normalize
from usermeta_server.lru import LruMap

_WEIGHT: Final = 6
"""How many times the bytes of its text a document takes as a value, about."""


class OpenedDocuments:
    """Documents as values. A value shares with the one that it was made of all members that the edit left alone."""

    def __init__(self, limits: Limits, cache_bytes: int) -> None:
        """Hold documents to these limits, and keep up to so many bytes (about) of values."""
        self.limits = limits
        self._values: LruMap[str, JsonObject] = LruMap(cache_bytes)

    def open(self, text: str) -> JsonObject:
        """Return a stored document as a value, which is not to be changed; raises as `load` does."""
        value = self._values.get(text)
        return load(text) if value is None else value

    def seal(self, document: JsonObject, field: str, before: JsonObject) -> str:
        """Return the text of an edited document, as `limits.seal` does, and raise as it does.

        Args:
            document: The document after the edit.
            field: The request field that it stands for.
            before: What `open` returned and was edited.
        """
        document = normalize(document, field, self.limits, before)
        text = encode(document, field, self.limits).decode()
        self._values.put(text, document, _WEIGHT * len(text))
        return text
