"""The grammar of AIP-160: what a filter's text is read as, and where a wrong one is wrong."""

import pytest

from usermeta_server.core.query import MAX_LENGTH, parse_filter, parse_index_path
from usermeta_server.core.query.lexer import tokenize
from usermeta_server.core.query.parser import MAX_NESTING, MAX_TERMS, parse
from usermeta_server.core.query.tree import And, Bare, Has, Not, Or, Restriction, Tree
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Document
from usermeta_server.store.predicates import DocumentPath


def shape(tree: Tree | None) -> str:  # noqa: PLR0911  # one for each kind of node
    """Return a tree with every parenthesis written out."""
    match tree:
        case None:
            return ""
        case And(operands):
            return f"({' & '.join(map(shape, operands))})"
        case Or(operands):
            return f"({' | '.join(map(shape, operands))})"
        case Not(operand):
            return f"!{shape(operand)}"
        case Bare(word):
            return word.text
        case Has(path, value):
            return f"{'.'.join(path.segments)}:{value.text}"
        case Restriction(path, operator, value):
            return f"{'.'.join(path.segments)}{operator}{value.text}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \t\n", ""),
        ("Hugo", "Hugo"),
        ("42", "42"),
        ("Victor Hugo", "(Victor & Hugo)"),
        ("a AND b", "(a & b)"),
        ("a OR b OR c", "(a | b | c)"),
        ("a AND b OR c", "(a & (b | c))"),
        ("a b AND c AND d", "(a & b & c & d)"),
        ("New York Giants OR Yankees", "(New & York & (Giants | Yankees))"),
        ("a < 10 OR a >= 100", "(a<10 | a>=100)"),
        ("a OR b AND c OR d", "((a | b) & (c | d))"),
        ("(a AND b) OR c", "((a & b) | c)"),
        ("NOT a", "!a"),
        ("-a", "!a"),
        ("-30", "-30"),
        ("NOT -1.5", "!-1.5"),
        ("a -30", "(a & -30)"),
        ("-a.30", "!a.30"),
        ("-30a", "!30a"),
        ("a.1.5 = 1", "a.1.5=1"),
        ("1.2.3", "1.2.3"),
        ("ada+x@example.com", "ada+x@example.com"),
        ("NOT (a OR b)", "!(a | b)"),
        ("NOT a = b OR c", "(!a=b | c)"),
        ('-file:".java"', "!file:.java"),
        ("package=com.google", "package=com.google"),
        ("msg != 'hello'", "msg!=hello"),
        ("1 > 0", "1>0"),
        ("2.5 >= 2.4", "2.5>=2.4"),
        ("a=-5", "a=-5"),
        ("a = -0.25e-3", "a=-0.25e-3"),
        ("a = 2.997e9", "a=2.997e9"),
        ("map:key", "map:key"),
        ("m.foo:*", "m.foo:*"),
        ("expr.type_map.1.type", "expr.type_map.1.type"),
        ('a.b.c = "foo"', "a.b.c=foo"),
        ('a."first name".c = 1', "a.first name.c=1"),
        ('"a"."b" = 1', "a.b=1"),
        ("a.AND.OR.NOT = 1", "a.AND.OR.NOT=1"),
        ("a.first-name = 1", "a.first-name=1"),
        ("(a)(b)", "(a & b)"),
        ("((a))", "a"),
        ("ANDROID NOTED ORB", "(ANDROID & NOTED & ORB)"),
        ("NOT(a)", "!a"),
        ('"a \\"b\\" \\\\ \\u00e9 \\ud83d\\ude00 \\n"', 'a "b" \\ é 😀 \n'),
        ("'it\\'s \"so\"'", 'it\'s "so"'),
        ("a\u00a0b", "(a & b)"),
        ("ada@example.com", "ada@example.com"),
    ],
)
def test_a_filter_is_read_as(text: str, expected: str) -> None:
    """AIP-160's own examples, and those that this grammar settles, are read with the right precedence and escapes."""
    assert shape(parse(tokenize(text, MAX_LENGTH))) == expected


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("a AND", 6, "expected a condition, found the end"),
        ("OR a", 1, "expected a condition"),
        ("a OR OR b", 6, "expected a condition"),
        ("a and b", 3, "in capitals"),
        ("(a", 3, "expected ')', found the end"),
        ("a)", 2, "found ')'"),
        ("()", 2, "expected a condition"),
        ("id = ", 6, "expected a value, found the end"),
        ("id = AND", 6, "expected a value"),
        ("id == x", 4, "write '='"),
        ('id = "a', 6, "not closed"),
        ("id = 'a\\'", 6, "not closed"),
        ('id = "\\q"', 7, "no escape '\\q'"),
        ('id = "\\ud800"', 7, "surrogate"),
        ("id = \ud800", 6, "surrogate"),
        ("id ! x", 4, "write NOT"),
        ("a\\b", 2, "backslash"),
        ("a . b = 1", 3, "found '.'"),
        ("a. b = 1", 4, "expected a key right behind '.'"),
        ("a.", 3, "expected a key"),
        (".5", 1, "expected a condition"),
        ("a.*.b = 1", 3, "must be quoted"),
        ("- a", 3, "right behind '-'"),
        ("--a", 2, "expected a condition"),
        ("id = -x", 6, "expected a number"),
        ("id = - 5", 6, "expected a number"),
        ('id = "a""b"', 9, "white space"),
        ("id = a,b", 7, "found ','"),
        ("regex(m.key, '^.*$')", 1, "functions are not supported: 'regex(…)'"),
        ("math.mem('30mb') > 1", 1, "'math.mem(…)'"),
        ("id = now()", 6, "'now(…)'"),
        ("id = (a OR b)", 6, "a value in parentheses is not supported"),
        ("id:(a OR b)", 4, "a value in parentheses is not supported"),
        ("create_time > 2026-01-31T12:00:00Z", 15, "must be quoted"),
        ('a."b"', 1, "expected a comparison"),
        ("nothing = 1", 1, "there is no field 'nothing'"),
        ("a OR username.x = 1", 6, "there is no field 'username.x'"),
        ("public_metadata = 1", 1, "expected a path in the document"),
        ("public_metadata:1", 17, "expected a key"),
        ("public_metadata." + ".".join("a" * 33) + " = 1", 1, "at most 32"),
        ("id = 10", 6, "expected a string"),
        ("username = true", 12, "expected a string"),
        ("banned = 1", 10, "expected true or false"),
        ('banned = "true"', 10, "expected true or false"),
        ("banned < true", 10, "expected a number or a string"),
        ("public_metadata.a < null", 21, "expected a number or a string"),
        ("public_metadata.a >= true", 22, "expected a number or a string"),
        ('public_metadata.a > "b*"', 21, "matches only by"),
        ('public_metadata.a = "a*b"', 21, "only at the start or the end"),
        ("public_metadata.a = *", 21, "presence is asked by ':*'"),
        ('create_time > "yesterday"', 15, "RFC 3339"),
        ("create_time > 2026", 15, "RFC 3339"),
        ('create_time > "2026-02-30T00:00:00Z"', 15, "there is no time"),
        ('create_time > "2026-01-31T12:00:00.0123456789Z"', 15, "at most 9 digits"),
        ('create_time > "2026-01-31T24:00:00Z"', 15, "there is no time"),
        ('create_time > "0000-01-01"', 15, "there is no time"),
        ('create_time > "2026-01"', 15, "RFC 3339"),
        ("create_time > 2026-01-31", 15, "RFC 3339"),
        ('create_time > "2026-01-31T12:00Z"', 15, "RFC 3339"),
        ('create_time > "2026-01-31T12:00:00+24:00"', 15, "there is no time"),
        ("banned", 1, "is a field"),
        ("public_metadata.beta", 1, "is a field"),
        ("(" * (MAX_NESTING + 1) + "a", MAX_NESTING + 1, "deeper"),
        ("a " * (MAX_TERMS + 1), 2 * MAX_TERMS + 1, "more than the 100 terms"),
        ("a" * (MAX_LENGTH + 1), MAX_LENGTH + 1, "has 4097 characters"),
    ],
)
def test_a_wrong_filter_is_refused_with_its_place(text: str, position: int, message: str) -> None:
    """The refusal names the position of the first wrong character, counted from 1, and what was expected."""
    with pytest.raises(UsermetaError) as caught:
        parse_filter(text)
    assert caught.value.reason is Reason.FILTER_INVALID
    assert (caught.value.metadata["field"], caught.value.metadata["position"]) == ("filter", str(position))
    assert message in caught.value.violations[0].description
    assert f"(at position {position})" in caught.value.message


@pytest.mark.parametrize("text", ["a " * MAX_TERMS, "(" * MAX_NESTING + "a" + ")" * MAX_NESTING, "a" * MAX_LENGTH])
def test_the_limits_themselves_are_allowed(text: str) -> None:
    """A filter of exactly the length, nesting or terms that are allowed is read."""
    assert parse_filter(text)


def test_the_canonical_text_does_not_depend_on_white_space() -> None:
    """Filters that differ in white space only have the same canonical text; others have not."""
    texts = ['id="a b"  AND(banned=true)', ' id = "a b" AND ( banned = true ) ']
    assert len({parse_filter(text).canonical for text in texts}) == 1
    assert len({parse_filter(text).canonical for text in (*texts, 'id="a  b" AND (banned=true)')}) == 2


def test_the_path_of_an_index_is_read_as_in_a_filter() -> None:
    """An index's path is one in a document; a field or anything more is refused."""
    assert parse_index_path('public_metadata."a.b".c') == DocumentPath(Document.PUBLIC, ("a.b", "c"))
    for wrong in ("", "username", "public_metadata", "public_metadata.a = 1", "public_metadata.a,"):
        with pytest.raises(UsermetaError) as caught:
            parse_index_path(wrong)
        assert caught.value.reason is Reason.FIELD_INVALID
        assert caught.value.metadata["field"] == "path"
