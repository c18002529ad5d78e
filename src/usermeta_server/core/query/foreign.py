"""What other languages write and a filter does not: each with what to write instead.

Taken for words, they would make a filter that means something else, and most often finds nobody.
"""

import re
from collections.abc import Mapping
from typing import Final

_AND: Final = "write AND"
_OR: Final = "write OR"
_NOT: Final = "write NOT or '-' before a condition, or '!='"
_EQUAL: Final = "write '='"
_UNEQUAL: Final = "write '!='"
_LESS_EQUAL: Final = "write '<='"
_GREATER_EQUAL: Final = "write '>='"
_MATCH: Final = """write '=' with a '*' at the start or the end of the string, as in name = "ad*\""""
_ANY_OF: Final = "write x = a OR x = b"
_HAS: Final = """write list:"x", which asks whether a list contains a value"""
_KEY: Final = """write a path with dots, as in public_metadata."a key".b"""
_NO_SUMS: Final = "there is no arithmetic: write the value itself"
_NO_COMMENT: Final = "there are no comments"
_QUOTE: Final = "a string stands in straight quotes"
_PRESENT: Final = "write ':*' for a key that is there, '= null' for an explicit null"
_ONLY_CONDITIONS: Final = "a filter is only conditions; order_by and page_size are fields of their own"

SYMBOLS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("&&", "&", "∧"), _AND),
    **dict.fromkeys(("||", "|", "∨"), _OR),
    **dict.fromkeys(("!", "¬"), _NOT),
    **dict.fromkeys(("==", "===", ":=", "<=>"), _EQUAL),
    **dict.fromkeys(("<>", "!==", "=!", "≠"), _UNEQUAL),
    **dict.fromkeys(("=<", "≤"), _LESS_EQUAL),
    **dict.fromkeys(("=>", "≥"), _GREATER_EQUAL),
    **dict.fromkeys(("~", "=~", "!~", "~=", "^"), _MATCH),
    **dict.fromkeys(("[", "]", "@>", "<@"), _HAS),
    **dict.fromkeys(("{", "}"), _ANY_OF),
    **dict.fromkeys(("->", "->>", "$", "?"), _KEY),
    **dict.fromkeys(("+", "%", "<<", ">>"), _NO_SUMS),
    **dict.fromkeys(("#", "//", "/*", "*/"), _NO_COMMENT),
    ";": "conditions are joined by AND, the fields of an order by a comma",
    **dict.fromkeys(("`", "“", "”", "„", "‘", "’", "«", "»"), _QUOTE),
    "::": "values have the type that they are written in: quote a string",
}
"""Symbols outside quotes, with advice."""

INSIDE: Final = "&|#[]{}~;^%$?`≠≤≥∧∨¬"
"""Those characters of them that stand in no word either, wherever they are in it."""
LEADING: Final = "+“”„‘’«»"
"""Those that begin no word, but may be in one."""

_WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("like", "ilike", "rlike", "regexp", "matches", "sw", "ew", "startswith"), _MATCH),
    **dict.fromkeys(("contains", "has", "co"), _HAS),
    **dict.fromkeys(("is", "exists", "pr"), _PRESENT),
    **dict.fromkeys(("where", "select", "limit", "offset", "order"), _ONLY_CONDITIONS),
    "in": _ANY_OF,
    "between": "write x >= a AND x <= b",
    "xor": "write (a OR b) AND NOT (a AND b)",
    "eq": _EQUAL,
    "ne": _UNEQUAL,
    "gt": "write '>'",
    "ge": _GREATER_EQUAL,
    "lt": "write '<'",
    "le": _LESS_EQUAL,
}
WORDS: Final[Mapping[str, str]] = {**_WORDS, **{word.upper(): advice for word, advice in _WORDS.items()}}
"""Words where a condition may begin, outside quotes, with advice. Written like a name, `Le`, they are words."""

VALUES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("True", "TRUE"), "write true"),
    **dict.fromkeys(("False", "FALSE"), "write false"),
    **dict.fromkeys(("None", "NULL", "Null", "nil", "undefined"), "write null, or NOT x:* for a key that is missing"),
    **dict.fromkeys(("NaN", "Infinity"), "a number is written as in JSON"),
}
"""What stands for a value in other languages, outside quotes, with advice."""

NUMBER: Final = r"-?(?:[0-9]+(?:_[0-9]+)+|0[xXbBoO][0-9a-fA-F_]+)"
"""A number as other languages write it, as a regular expression."""

_LONGEST_FIRST: Final = sorted(SYMBOLS.keys() - "!", key=len, reverse=True)
SYMBOL: Final = "|".join([*map(re.escape, _LONGEST_FIRST), "!(?!=)"])
"""Any of the symbols, the longest that it can be, as a regular expression; `!=` is none."""
BREAK: Final = r"->|//|/\*|\*/|@>"
"""Those symbols of characters that may stand in a word which end one, as a regular expression."""


def advice_on(found: str) -> str:
    """Return what to tell of a foreign symbol or number."""
    advice = SYMBOLS.get(found, "a number is written as in JSON, without '_' and in decimal")
    return f"'{found}' is not of this language: {advice} (in quotes it is text)"
