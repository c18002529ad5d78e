"""No text breaks the language: it is read or refused, and nothing of it ever becomes SQL."""

import re
from collections.abc import Callable
from typing import TypeVar

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.query.support import Database, conjunctions, documents, index_sets, order, predicate, some_users, user
from usermeta_server.core.query import Filter, OrderBy, parse_filter, parse_order
from usermeta_server.core.query.parser import MAX_NESTING, MAX_TERMS
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Document, User
from usermeta_server.store.evaluation import matcher, place_of
from usermeta_server.store.predicates import DocumentPath, Order, Place, UserQuery
from usermeta_server.store.sqlite.selects import Selects, entry_rows
from usermeta_server.values import JsonObject

WORDS = (
    *("AND", "OR", "NOT", "and", "-", "(", ")", "=", "!=", "<", ">=", ":", ":*", ".", ",", "*", '"', "'", "\\", " "),
    *("public_metadata", "username", "banned", "create_time", "true", "null", "1", "-0.5", "1e999", "desc", "\ud800"),
    *('"a"', "'b*'", '"\\u0000"', "\0", "é", "\u2028", "x'00'", "; DROP TABLE users --", "%s", ":p0", "?", "9" * 400),
)
noise = st.text(max_size=30) | st.lists(st.sampled_from(WORDS), max_size=12).map("".join)
noise |= st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


R = TypeVar("R", bound=Filter | OrderBy)


def outcome(read: Callable[[str], R], text: str) -> R | UsermetaError:
    """Return what a text is read as, or its refusal."""
    try:
        return read(text)
    except UsermetaError as error:
        return error


@settings(max_examples=500)
@given(noise)
@example("(" * 4000)
@example("-" * 4000)
@example("NOT " * 1000)
@example("a." * 2000)
@example("9" * 4096)
@example("public_metadata.a=" + "9" * 4000)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Arbitrary text is a filter or FILTER_INVALID, an order or ORDER_INVALID, with a position within it."""
    for read, reason in ((parse_filter, Reason.FILTER_INVALID), (parse_order, Reason.ORDER_INVALID)):
        found = outcome(read, text)
        if isinstance(found, UsermetaError):
            assert found.reason is reason
            assert 1 <= int(found.metadata["position"]) <= len(text) + 1
        else:
            assert read(found.canonical) == found


NAMES = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


@given(
    st.sampled_from(
        ("public_metadata.{0} = {0}", "public_metadata.{0}:{0}", "username:{0}", "{0} AND -{0}", "id > {0}")
    )
)
def test_no_text_reaches_sql(shape: str) -> None:
    """Keys, values and words are bound: the SQL is the same whatever they are, of the same kind."""
    statements = set()
    for word in ('"a"', '"\'; DROP TABLE users --"', '"%"', "'\"'", '":p0"', '"\\u0000"'):
        sought = predicate(shape.format(word))
        statement = Selects().page(UserQuery(sought, order(f"public_metadata.{word}"), None, 10))
        statements.add(re.sub(r", 1, \d+\)", ", 1, N)", statement.sql))
    assert len(statements) == 1


@settings(max_examples=100)
@given(conjunctions, index_sets)
def test_sql_is_made_of_known_words(text: str, indexes: list[DocumentPath]) -> None:
    """Whatever the filter, its SQL has the words of a fixed list only."""
    numbered = {path: number for number, path in enumerate(indexes, 1)}
    statement = Selects(numbered).page(UserQuery(predicate(text), Order(), None, 10))
    words = {re.sub(r"\d+$", "", word) for word in NAMES.findall(statement.sql)}
    assert words <= KNOWN


KEYWORDS = """
    SELECT FROM WHERE AND OR NOT EXISTS CASE WHEN THEN ELSE END AS CROSS JOIN ON ORDER BY LIMIT IN GLOB DESC
    json_each json_extract instr substr fold fold_email_address lower type key value text integer real array
    object true false null
    users identifiers index_entries index page kind part user_id index_id u e i s m k p x
"""
KNOWN = {*KEYWORDS.split(), *User._fields}


def test_a_null_character_is_a_character() -> None:
    """U+0000 can be sought; no document has it, and nothing ends at it."""
    database = Database([user("user_1", public_metadata={"a": "x"})])
    for text in ('"x\\u0000"', '"x\\u0000*"', '"*\\u0000x"', '"*\\u0000*"'):
        assert database.page(predicate(f"public_metadata.a = {text}"), Order()) == []
    database.close()


def deepest() -> str:
    """Return a filter that nests as deep as is allowed, with a condition on both sides of every parenthesis."""
    text = 'public_metadata.items.a:"x"'
    for level in range(MAX_NESTING):
        word = ("AND", "OR")[level % 2]
        text = f'(public_metadata.a.b != "{level}" {word} {text} {word} private_metadata.c:"{level}")'
    return text


LONGEST = ".".join("a" * 32)


@pytest.mark.parametrize(
    "text",
    [
        deepest(),
        " ".join(["a"] * MAX_TERMS),
        " OR ".join(["-a"] * MAX_TERMS),
        " AND ".join(f"(public_metadata.a{number}.b:x OR banned = true)" for number in range(MAX_TERMS // 2)),
        f"public_metadata.{LONGEST}:x AND private_metadata.{LONGEST} = 1 AND -public_metadata.{LONGEST}:*",
    ],
)
def test_sqlite_takes_the_largest_filters(text: str) -> None:
    """The most that a filter may be is within the limits of SQLite's parser, with the longest order too."""
    database = Database([user("user_1", username="ada")])
    by = order(", ".join(f"public_metadata.k{number}.{LONGEST[2:]}{' desc' * (number % 2)}" for number in range(5)))
    sought = predicate(text)
    everyone = [user("user_1", username="ada")]
    assert database.page(sought, by) == [each for each in everyone if matcher(sought)(each)]
    assert database.page(sought, by, place_of(by)(everyone[0])) == []
    database.close()


@settings(max_examples=200)
@given(some_users(), index_sets)
def test_an_index_has_one_value_of_each_user(users: list[User], indexes: list[DocumentPath]) -> None:
    """Each index keeps one value of every user, so that an order can walk it, and it alone."""
    numbered = {path: number for number, path in enumerate(indexes, 1)}
    for each in users:
        rows = entry_rows(each, numbered)
        assert sorted(index for index, part, _, _ in rows if part == 0) == sorted(numbered.values())
        assert {user_id for *_, user_id in rows} <= {each.id}


@given(documents, documents)
def test_entries_follow_from_the_document_alone(one: JsonObject, other: JsonObject) -> None:
    """Entries depend on the document of their path only, so that a write of another one leaves them."""
    indexes = {DocumentPath(Document.PUBLIC, ("a",)): 1}
    rows = [entry_rows(user("user_1", public_metadata=one, private_metadata=each), indexes) for each in ({}, other)]
    assert rows[0] == rows[1]
    assert orjson.loads(user(public_metadata=one).public_metadata) == one


def test_a_place_beyond_the_end_is_an_empty_page() -> None:
    """After the last user comes nobody."""
    database = Database([user("user_1")])
    assert database.page(predicate(""), Order(), Place((), "user_1")) == []
    database.close()
