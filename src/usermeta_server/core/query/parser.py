"""The grammar of a filter (AIP-160).

    filter      = [ expression ] ;
    expression  = sequence { "AND" sequence } ;
    sequence    = factor { WS factor } ;
    factor      = term { "OR" term } ;
    term        = [ "NOT" | "-" ] simple ;
    simple      = restriction | "(" expression ")" ;
    restriction = path comparator value | word ;
    path        = ( TEXT | STRING ) { "." ( TEXT | STRING ) } ;
    comparator  = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":" ;
    value       = STRING | TEXT { "." TEXT } ;
    word        = STRING | TEXT { "." TEXT } ;

It is the AIP's grammar, restated without functions and without a parenthesis as a value, which are refused by name.
OR binds tighter than AND, and AND as tight as standing side by side: `a b OR c AND d` is `a AND (b OR c) AND d`.
No white space stands around a dot or after a minus; a number has its minus and its point in it, so that `-30` is a
word and `-a` a negation. AND, OR and NOT are words like others inside a path, behind
its first dot; elsewhere they must be quoted to be words, and in small letters too, for they would hardly be meant.
"""

import string
from collections.abc import Sequence
from typing import Final

from usermeta_server.core.query import foreign
from usermeta_server.core.query.lexer import Flaw, Kind, Token
from usermeta_server.core.query.tree import And, Bare, Has, Literal, Not, Or, Path, Restriction, Tree

MAX_NESTING: Final = 32
"""How deep parentheses may nest."""
MAX_TERMS: Final = 100
"""How many comparisons and words a filter may have."""
_COMPARATORS: Final = ("=", "!=", "<", "<=", ">", ">=", ":")
_KEYWORDS: Final = ("AND", "OR", "NOT")
_PUNCTUATION: Final = frozenset(string.punctuation)
_LIKE_KEYWORDS: Final = ("and", "or", "not", "And", "Or", "Not")


def parse(tokens: Sequence[Token]) -> Tree | None:
    """Return the tree of a filter's tokens, `None` of an empty one.

    Raises:
        Flaw: the tokens are no filter, or one nested too deep or with too many terms.
    """
    return Parser(tokens).filter()


class Parser:
    """Reads tokens from left to right, one function a rule of the grammar."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        """Begin before the first token."""
        self._tokens = tokens
        self._place = 0
        self._terms = 0
        self._nesting = 0

    def peek(self) -> Token:
        """Return the next token."""
        return self._tokens[self._place]

    def take(self) -> Token:
        """Return the next token and go past it."""
        token = self.peek()
        self._place += token.kind is not Kind.END
        return token

    def expect(self, *symbols: str) -> None:
        """Go past one of these symbols."""
        if not self.peek().is_symbol(*symbols):
            raise self.unexpected(" or ".join(f"'{symbol}'" for symbol in symbols))
        self.take()

    def unexpected(self, wanted: str) -> Flaw:
        """Make the flaw of a token that is not what is wanted."""
        found = "the end" if self.peek().kind is Kind.END else f"'{self.peek().raw}'"
        return Flaw(self.peek().start, f"expected {wanted}, found {found}")

    def touches(self) -> bool:
        """Tell whether the next token stands right behind the last one that was taken."""
        return self._place > 0 and self._tokens[self._place - 1].end == self.peek().start

    def filter(self) -> Tree | None:
        """Read all tokens."""
        if self.peek().kind is Kind.END:
            return None
        tree = self.expression()
        if self.peek().kind is not Kind.END:
            raise self.unexpected("AND, OR, a condition, or the end")
        return tree

    def expression(self) -> Tree:
        """Read `expression` and `sequence`, which mean the same."""
        operands = [self.factor()]
        while not self.peek().is_symbol(")") and self.peek().kind is not Kind.END:
            if self.peek().is_word("AND"):
                self.take()
            elif self.touches() and not self.peek().is_symbol("(") and not self._after_parenthesis():
                raise self.unexpected("white space, AND or OR")
            operands.append(self.factor())
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def _after_parenthesis(self) -> bool:
        return self._tokens[self._place - 1].is_symbol(")")

    def factor(self) -> Tree:
        """Read `factor`."""
        operands = [self.term()]
        while self.peek().is_word("OR"):
            self.take()
            operands.append(self.term())
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def term(self) -> Tree:
        """Read `term`."""
        if self.peek().is_word("NOT"):
            self.take()
            return Not(self.simple())
        if self.peek().is_symbol("-"):
            self.take()
            if not self.touches():
                raise self.unexpected("a condition right behind '-'")
            return Not(self.simple())
        return self.simple()

    def simple(self) -> Tree:
        """Read `simple`."""
        if not self.peek().is_symbol("("):
            return self.restriction()
        if self._nesting == MAX_NESTING:
            raise Flaw(self.peek().start, f"nests deeper than the {MAX_NESTING} parentheses that are allowed")
        self._nesting += 1
        self.take()
        tree = self.expression()
        self.expect(")")
        self._nesting -= 1
        return tree

    def restriction(self) -> Tree:
        """Read `restriction`."""
        if self._terms == MAX_TERMS:
            raise Flaw(self.peek().start, f"has more than the {MAX_TERMS} terms that are allowed")
        self._terms += 1
        segments = self.segments()
        if not self.peek().is_symbol(*_COMPARATORS):
            return self._bare(_word(segments))
        path = path_of(segments)
        operator = self.take().raw
        value = self.value()
        return Has(path, value) if operator == ":" else Restriction(path, operator, value)

    def _bare(self, word: Literal) -> Bare:
        if not word.quoted and word.text in foreign.WORDS:
            advice = foreign.WORDS[word.text]
            raise Flaw(word.position, f"'{word.text}' is no operator: {advice} (a word like it is quoted)")
        if not word.quoted and set(word.text) <= _PUNCTUATION:
            raise Flaw(word.position, f"'{word.text}' is no word: quote it to find it")
        return Bare(word)

    def segments(self, wanted: str = "a condition") -> list[Token]:
        """Read `path`, or a word of its form; `wanted` is what the refusal calls it."""
        if self.peek().is_word(*_KEYWORDS, *_LIKE_KEYWORDS):
            raise self.unexpected(f"{wanted} (operators are AND, OR and NOT, in capitals; a word is quoted)")
        segments = [self._segment(wanted)]
        while self.peek().is_symbol(".") and self.touches():
            self.take()
            if not self.touches():
                raise self.unexpected("a key right behind '.'")
            segments.append(self._segment("a key"))
        self._refuse_function(segments)
        return segments

    def _segment(self, wanted: str) -> Token:
        if self.peek().kind not in {Kind.TEXT, Kind.STRING}:
            raise self.unexpected(wanted)
        return self.take()

    def _refuse_function(self, segments: Sequence[Token]) -> None:
        if self.peek().is_symbol("(") and self.touches():
            name = ".".join(segment.raw for segment in segments)
            raise Flaw(segments[0].start, f"functions are not supported: '{name}(…)'")

    def value(self) -> Literal:
        """Read `value`."""
        if self.peek().is_symbol("("):
            raise Flaw(self.peek().start, "a value in parentheses is not supported: write 'x = a OR x = b'")
        if self.peek().kind is Kind.STRING:
            return _word([self.take()])
        if self.peek().is_symbol("-"):
            raise Flaw(self.peek().start, "expected a number behind '-' (a string that begins with '-' is quoted)")
        if self.peek().is_word(*_KEYWORDS):
            raise self.unexpected("a value (a word that is an operator is quoted)")
        if self.peek().kind is not Kind.TEXT:
            raise self.unexpected("a value")
        literal = _word(self.segments())
        if self.peek().is_symbol(":") and self.touches():
            raise Flaw(literal.position, "a value that holds ':', a time for example, must be quoted")
        return literal


def path_of(segments: Sequence[Token]) -> Path:
    """Return the path that segments are.

    Raises:
        Flaw: a star stands in it, not in quotes.
    """
    for segment in segments:
        if segment.kind is Kind.TEXT and segment.stars:
            raise Flaw(segment.start + segment.stars[0], "a '*' in a key must be quoted; presence is asked by ':*'")
    return Path(tuple(segment.text for segment in segments), segments[0].start)


def _word(segments: Sequence[Token]) -> Literal:
    """Return segments as one literal: a string, or a text with its dots."""
    first, *rest = segments
    if not rest:
        return Literal(first.text, first.stars, first.kind is Kind.STRING, first.start)
    for segment in segments:
        if segment.kind is Kind.STRING:
            raise Flaw(first.start, "expected a comparison of this path, or one string in quotes")
    text = ".".join(segment.text for segment in segments)
    stars = tuple(place for place, character in enumerate(text) if character == "*")
    return Literal(text, stars, quoted=False, position=first.start)
