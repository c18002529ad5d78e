"""What belongs to other languages is refused with what to write instead, and never taken for a word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermeta_server.core.query import foreign, parse_filter
from usermeta_server.errors import Reason, UsermetaError

REFUSED = [
    ("a \u2227 b", 3, "write AND"),
    ("a\u2228b", 2, "write OR"),
    ("\u00acbanned = true", 1, "write NOT"),
    ("public_metadata.a = True", 21, "'True' is not of this language: write true"),
    ("public_metadata.a != FALSE", 22, "write false"),
    ("public_metadata.a = NULL", 21, "write null"),
    ("public_metadata.a:None", 19, "write null"),
    ("last_name = nil", 13, "write null"),
    ("banned = True", 10, "write true"),
    ("public_metadata.a > NaN", 21, "written as in JSON"),
    ("public_metadata.a = private_metadata.b", 21, "compares with values only"),
    ("a = 5 && banned = true", 7, "'&&' is not of this language: write AND"),
    ("banned = true & b", 15, "write AND"),
    ("a || b", 3, "write OR"),
    ("a|b", 2, "write OR"),
    ("!banned", 1, "write NOT"),
    ("a AND !(b)", 7, "write NOT"),
    ("public_metadata.a == 5", 19, "write '='"),
    ("public_metadata.a === 5", 19, "'===' is not of this language: write '='"),
    ("public_metadata.a := 5", 19, "write '='"),
    ("public_metadata.a <=> 5", 19, "write '='"),
    ("public_metadata.a <> 5", 19, "write '!='"),
    ("public_metadata.a !== 5", 19, "write '!='"),
    ("public_metadata.a => 5", 19, "write '>='"),
    ("public_metadata.a =< 5", 19, "write '<='"),
    ("public_metadata.a \u2264 5", 19, "write '<='"),
    ('public_metadata.a =~ "x"', 19, "with a '*'"),
    ('public_metadata.a ~ "x"', 19, "with a '*'"),
    ("public_metadata.l[0] = 1", 18, "asks whether a list contains"),
    ('public_metadata["a"] = 1', 16, "asks whether a list contains"),
    ("public_metadata.a->b = 1", 18, "a path with dots"),
    ("public_metadata.a ->> b", 19, "a path with dots"),
    ("public_metadata.a = $1", 21, "a path with dots"),
    ("public_metadata.a = {1}", 21, "x = a OR x = b"),
    ("public_metadata.a = +5", 21, "write the value itself"),
    ("public_metadata.a + 5 > 6", 19, "write the value itself"),
    ("public_metadata.a % 2 = 0", 19, "write the value itself"),
    ("+ada", 1, "write the value itself"),
    ("public_metadata.a = 5_000", 21, "a number is written as in JSON"),
    ("public_metadata.a = -5_000", 21, "a number is written as in JSON"),
    ("public_metadata.a = 0x1F", 21, "a number is written as in JSON"),
    ("5_000", 1, "a number is written as in JSON"),
    ("banned = true # not yet", 15, "there are no comments"),
    ("banned = true // not yet", 15, "there are no comments"),
    ("banned = true /* not yet */", 15, "there are no comments"),
    ("banned = true;", 14, "joined by AND"),
    ("`username` = a", 1, "straight quotes"),
    ("username = \u201cada\u201d", 12, "straight quotes"),
    ("public_metadata.a::int = 5", 18, "the type that they are written in"),
    ("public_metadata.a IN (1, 2)", 19, "x = a OR x = b"),
    ("IN", 1, "'IN' is no operator"),
    ("public_metadata.a NOT IN (1)", 23, "x = a OR x = b"),
    ('username LIKE "a%"', 10, "with a '*'"),
    ("username is null", 10, "'= null'"),
    ('username eq "ada"', 10, "write '='"),
    ('username co "ada"', 10, "asks whether a list contains"),
    ("public_metadata.a between 1 AND 2", 19, "x >= a AND x <= b"),
    ("WHERE banned = true", 1, "a filter is only conditions"),
    ("banned = true LIMIT 5", 15, "a filter is only conditions"),
    ("public_metadata.a = 4 / 2", 23, "'/' is no word"),
    ("a * b", 3, "'*' is no word"),
]


@pytest.mark.parametrize(("text", "position", "advice"), REFUSED)
def test_what_is_foreign_is_refused_with_advice(text: str, position: int, advice: str) -> None:
    with pytest.raises(UsermetaError) as caught:
        parse_filter(text)
    assert caught.value.reason is Reason.FILTER_INVALID
    assert caught.value.metadata["position"] == str(position)
    assert advice in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        'username = "a && b"',
        "first_name = 'R&D'",
        'public_metadata."a[0]" = "+5"',
        "public_metadata.in = 1",
        "public_metadata.5_000 = 1",
        "public_metadata.country = IN",
        '"in"',
        "Le",
        "O\u2019Brien",
        "a+b@example.com",
        "public_metadata.path = a/b",
        "public_metadata.x<-5",
        'username != "a"',
    ],
)
def test_what_only_looks_foreign_is_taken(text: str) -> None:
    """In quotes everything is text; behind a dot, or as a value, a word is no operator."""
    assert parse_filter(text)


WORDS = st.sampled_from(
    ["a", "Ada", "x", "username", "-30", '"in quotes && text"', "banned = true", "id = x", "(", ")", "OR"]
)
NUMBERS = ("5_000", "-1_0.5", "0xff", "+5")
FOREIGN = st.sampled_from([*foreign.SYMBOLS, *foreign.WORDS, *NUMBERS])


@given(st.lists(WORDS, max_size=4), FOREIGN, st.lists(WORDS, max_size=4), st.booleans())
def test_nothing_foreign_is_ever_a_word(before: list[str], found: str, after: list[str], glued: bool) -> None:  # noqa: FBT001  # drawn by hypothesis
    """Wherever it stands outside quotes the filter is refused; glued to its neighbours, too, if it ends a word."""
    glues = glued and found in foreign.SYMBOLS and found not in foreign.LEADING
    with pytest.raises(UsermetaError) as caught:
        parse_filter(("" if glues else " ").join([" ".join(before), found, " ".join(after)]))
    assert caught.value.reason is Reason.FILTER_INVALID


def test_each_character_that_is_foreign_on_its_own_ends_a_word_or_begins_none() -> None:
    """So none of the table is missed by how words are cut; a lone `!` is no character of words at all."""
    assert {symbol for symbol in foreign.SYMBOLS if len(symbol) == 1} == {*foreign.INSIDE, *foreign.LEADING, "!"}
