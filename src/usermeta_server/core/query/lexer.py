r"""The tokens of a filter or an order (AIP-160).

A text is any run of characters without white space, without `"'()=<>!:,.\` and without what `foreign` has. A leading
`-` is a symbol of its own, but of a number it is a part, and so is its point: a number is one text, unless it is a key
behind a dot. A string stands in double or single quotes, with JSON's escapes (RFC 8259), `\'` and `\*`.
"""

import re
from enum import Enum, unique
from typing import Final, NamedTuple

from usermeta_server.core.query import foreign


@unique
class Kind(Enum):
    """What a token is."""

    TEXT = "text"
    STRING = "string"
    SYMBOL = "symbol"
    END = "end"


class Flaw(Exception):  # noqa: N818  # what is wrong with a text, on its way to becoming a UsermetaError
    """What is wrong with a text, and where: the position counts characters from 1."""

    def __init__(self, position: int, description: str) -> None:
        """Note the flaw."""
        super().__init__(description)
        self.position = position
        self.description = description


class Token(NamedTuple):
    """A token: as it was written, and what it means.

    Attributes:
        kind: What it is.
        raw: As it was written.
        start: Position of its first character, counted from 1.
        text: What it means: a string without quotes and escapes.
        stars: Where in `text` a `*` stands that was not escaped, counted from 0.
    """

    kind: Kind
    raw: str
    start: int
    text: str
    stars: tuple[int, ...]

    @property
    def end(self) -> int:
        """The position right after it."""
        return self.start + len(self.raw)

    def is_symbol(self, *symbols: str) -> bool:
        """Tell whether this is one of these symbols."""
        return self.kind is Kind.SYMBOL and self.raw in symbols

    def is_word(self, *words: str) -> bool:
        """Tell whether this is one of these words, not in quotes."""
        return self.kind is Kind.TEXT and self.raw in words


NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""What is a number where it stands without quotes: JSON's numbers (RFC 8259, section 6)."""
_APART: Final = r"""\s"'()=<>!:,\\""" + re.escape(foreign.INSIDE)
"""What stands in no text and no number, for a class of characters."""
_TOKEN: Final = re.compile(
    rf"""
    (?P<space>\s+)
    | (?P<foreign>{foreign.SYMBOL}|(?<!\.){foreign.NUMBER}(?![^{_APART}.]))
    | (?P<number>(?<!\.){NUMBER.pattern}(?![^{_APART}]))
    | (?P<TEXT>(?![{foreign.LEADING}-])(?:(?!{foreign.BREAK})[^{_APART}.])+)
    | (?P<STRING>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<SYMBOL><=|>=|!=|[=<>:(),.-])
    """,
    re.VERBOSE | re.DOTALL,
)
_PIECE: Final = re.compile(
    r"""
    [^\\*]+
    | (?P<star>\*)
    | \\u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})
    | \\u(?P<code>[0-9a-fA-F]{4})
    | \\(?P<escaped>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES: Final = {
    **{character: character for character in "\"'\\/*"},
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}
_WRONG: Final = {
    '"': "the string that begins here is not closed",
    "'": "the string that begins here is not closed",
    "\\": "a backslash stands only in a quoted string",
}


def tokenize(source: str, max_length: int) -> list[Token]:
    """Return the tokens of a text, the last of which is its end.

    Raises:
        Flaw: the text is longer than `max_length` characters, or is not made of tokens.
    """
    if len(source) > max_length:
        raise Flaw(max_length + 1, f"has {len(source)} characters; at most {max_length} are allowed")
    tokens = []
    place = 0
    while place < len(source):
        found = _TOKEN.match(source, place)
        if found is None:
            raise Flaw(place + 1, _WRONG[source[place]])
        if found["foreign"]:
            raise Flaw(place + 1, foreign.advice_on(found[0]))
        if not found["space"]:
            kind = Kind.TEXT if found["number"] else Kind[str(found.lastgroup)]
            tokens.append(_token(kind, found[0], place + 1))
        place = found.end()
    return [*tokens, Token(Kind.END, "", len(source) + 1, "", ())]


def _token(kind: Kind, raw: str, start: int) -> Token:
    if kind is Kind.STRING:
        return _string(raw, start)
    for offset, character in enumerate(raw):
        _check(character, start + offset)
    return Token(kind, raw, start, raw, tuple(place for place, character in enumerate(raw) if character == "*"))


def _string(raw: str, start: int) -> Token:
    """Make the token of a quoted string, its escapes resolved."""
    text = ""
    stars = []
    for piece in _PIECE.finditer(raw, 1, len(raw) - 1):
        position = start + piece.start()
        if piece["star"]:
            stars.append(len(text))
        meant = _meaning(piece, position)
        for offset, character in enumerate(meant):
            _check(character, position + offset)
        text += meant
    return Token(Kind.STRING, raw, start, text, tuple(stars))


def _meaning(piece: re.Match[str], position: int) -> str:
    if piece["high"]:
        return bytes.fromhex(piece["high"] + piece["low"]).decode("utf-16-be")
    if piece["code"]:
        return chr(int(piece["code"], 16))
    if escaped := piece["escaped"]:
        if escaped not in _ESCAPES:
            raise Flaw(position, f"there is no escape '\\{escaped}'")
        return _ESCAPES[escaped]
    return piece[0]


def _check(character: str, position: int) -> None:
    if "\ud800" <= character <= "\udfff":
        raise Flaw(position, "half of a surrogate pair is no character")
