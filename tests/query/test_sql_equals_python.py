"""SQL on a real SQLite finds the users that plain Python finds, in its order, with and without indexes."""

from collections.abc import Sequence
from functools import cache

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.query.support import Database, conjunctions, index_sets, order, orders, predicate, some_users, user
from usermeta_server.core.query import from_cursor, to_cursor
from usermeta_server.model import Document, User
from usermeta_server.store.evaluation import matcher, place_of, sort_key
from usermeta_server.store.predicates import DocumentPath, Place
from usermeta_server.store.sqlite.selects import FEW


@cache
def _database() -> Database:
    return Database()


@settings(max_examples=300)
@given(users=some_users(), text=conjunctions, order_by=orders, indexes=index_sets, many=st.booleans())
def test_a_page_is_what_python_finds(
    *, users: list[User], text: str, order_by: str, indexes: Sequence[DocumentPath], many: bool
) -> None:
    """A page and a count are what filtering and sorting in Python give, whichever way the counts suggest."""
    sought, by = predicate(text), order(order_by)
    matches = matcher(sought)
    expected = sorted((each for each in users if matches(each)), key=sort_key(by))
    database = _database()
    database.fill(users, indexes)
    counts = [FEW + 1 for _ in database.counts(sought)] if many else database.counts(sought)
    assert database.page(sought, by, counts=counts) == expected
    assert database.count(sought, counts) == len(expected)


@settings(max_examples=120)
@given(
    users=some_users(9),
    text=conjunctions,
    order_by=orders,
    indexes=index_sets,
    size=st.integers(1, 3),
    many=st.booleans(),
)
def test_pages_visit_each_user_once(
    *, users: list[User], text: str, order_by: str, indexes: Sequence[DocumentPath], size: int, many: bool
) -> None:
    """Page by page, each from the cursor of the one before, every user comes once and in order."""
    sought, by = predicate(text), order(order_by)
    database = _database()
    database.fill(users, indexes)
    counts = [FEW + 1 for _ in database.counts(sought)] if many else None
    found: list[User] = []
    after: Place | None = None
    while page := database.page(sought, by, after, size, counts):
        found += page
        assert len(found) <= len(users)
        after = from_cursor(to_cursor(place_of(by)(page[-1])))
    assert found == database.page(sought, by)


fractions = st.floats(-(2.0**53) + 1, 2.0**53 - 1, allow_nan=False)


@settings(max_examples=200)
@given(number=fractions, indexed=st.booleans())
@example(number=3.448077075144499e-299, indexed=False)
def test_any_fraction_is_found_and_gone_on_from(*, number: float, indexed: bool) -> None:
    """A number is equal to itself, and a page after it does not begin with it, though SQLite rounds as it likes."""
    by = order("public_metadata.v")
    someone = user("user_1", public_metadata={"v": number})
    database = _database()
    database.fill([someone], [DocumentPath(Document.PUBLIC, ("v",))] if indexed else [])
    for operator, truth in (("=", True), (">=", True), ("<=", True), ("<", False), (">", False), ("!=", False)):
        sought = predicate(f"public_metadata.v {operator} {number!r}")
        assert database.page(sought, by) == ([someone] if truth else [])
    for ordered in (by, order("public_metadata.v desc")):
        assert database.page(predicate(""), ordered, place_of(ordered)(someone)) == []
