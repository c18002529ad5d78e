"""What the tests of queries share: users, drawn at random too, and a SQLite database that finds them."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from usermeta_server.core.documents import dump, normal_form
from usermeta_server.core.profile import identifiers_of
from usermeta_server.core.query import parse_filter, parse_order
from usermeta_server.model import Document, Identifier, User
from usermeta_server.store.predicates import DocumentPath, Order, Place, Predicate, UserQuery
from usermeta_server.store.sqlite.migrate import migrations
from usermeta_server.store.sqlite.refold import FUNCTIONS
from usermeta_server.store.sqlite.selects import Select, Selects, entry_rows
from usermeta_server.store.sqlite.tables import TABLES, user_from_row
from usermeta_server.values import Json, JsonObject

SECOND = 1_000_000


def user(user_id: str = "user_1", **values: Any) -> User:  # noqa: ANN401  # of the types of the fields
    """Return a user; documents are given as they are read."""
    texts: dict[str, Any] = {
        name: dump(normal_form(value)).decode() if name in set(Document) else value for name, value in values.items()
    }
    blank = User(
        id=user_id,
        version=1,
        external_id="",
        username="",
        email_address="",
        email_address_verified=False,
        first_name="",
        last_name="",
        image_url="",
        banned=False,
        public_metadata="{}",
        private_metadata="{}",
        unsafe_metadata="{}",
        public_metadata_etag="p1",
        private_metadata_etag="q1",
        unsafe_metadata_etag="u1",
        etag="e1",
        visible_etag="v1",
        create_time=0,
        update_time=0,
        visible_update_time=0,
    )
    return blank._replace(**texts)


def predicate(text: str) -> Predicate:
    """Return what a filter means."""
    return parse_filter(text).predicate


def order(text: str) -> Order:
    """Return what an order means."""
    return parse_order(text).order


class Database:
    """A SQLite database of users, with complete indexes."""

    def __init__(
        self, users: Iterable[User] = (), indexes: Sequence[DocumentPath] = (), path: str = ":memory:"
    ) -> None:
        """Make it with the schema of the store."""
        self.connection = sqlite3.connect(path, isolation_level=None)
        for name, function in FUNCTIONS.items():
            self.connection.create_function(name, 1, function, deterministic=True)
        for step in migrations():
            self.connection.executescript(step.sql)
        self.fill(users, indexes)

    def fill(self, users: Iterable[User], indexes: Sequence[DocumentPath]) -> None:
        """Hold these users and indexes instead of what it holds."""
        self.indexes: Mapping[DocumentPath, int] = {each: number for number, each in enumerate(indexes, 1)}
        self.queries = Selects(self.indexes)
        self.connection.execute("BEGIN")
        for table in ("users", "identifiers", "index_entries"):
            self.connection.execute(f"DELETE FROM {table}")  # noqa: S608  # names from a fixed list
        self.insert(users)
        self.connection.execute("COMMIT")

    def insert(self, users: Iterable[User]) -> None:
        """Write users as a store does."""
        for each in users:
            self.connection.execute(TABLES["users"].upsert, each)
            for identifier in identifiers_of(each):
                self.connection.execute("INSERT INTO identifiers VALUES (?, ?, ?)", (*identifier, each.id))
            self.connection.executemany("INSERT INTO index_entries VALUES (?, ?, ?, ?)", entry_rows(each, self.indexes))

    def run(self, statement: Select) -> list[Any]:
        """Return the rows of a statement."""
        return self.connection.execute(statement.sql, dict(statement.parameters)).fetchall()

    def counts(self, sought: Predicate) -> Sequence[int]:
        """Return what probing counts."""
        probe = self.queries.probe(sought)
        return () if probe is None else self.run(probe)[0]

    def page(
        self,
        sought: Predicate,
        by: Order,
        after: Place | None = None,
        limit: int = 1000,
        counts: Sequence[int] | None = None,
    ) -> list[User]:
        """Return a page, by the best way, or by the one that other counts suggest."""
        known = self.counts(sought) if counts is None else counts
        rows = self.run(self.queries.page(UserQuery(sought, by, after, limit), known))
        return [user_from_row(row) for row in rows]

    def count(self, sought: Predicate, counts: Sequence[int] | None = None) -> int:
        """Return how many users there are."""
        known = self.counts(sought) if counts is None else counts
        ((count,),) = self.run(self.queries.count(sought, known))
        return int(count)

    def plan(self, statement: Select) -> str:
        """Return how SQLite goes about a statement, a line for each step."""
        rows = self.connection.execute(f"EXPLAIN QUERY PLAN {statement.sql}", dict(statement.parameters))
        return "\n".join(row[3] for row in rows)

    def close(self) -> None:
        """Close it."""
        self.connection.close()


KEYS = ("a", "b", "a.b", 'q"', "back\\slash", "é", "it's", "0", " ", "😀", "tab\t")
STRINGS = (
    "",
    "a",
    "A",
    "ab",
    "abc",
    "b",
    "10",
    "true",
    "null",
    "é",
    "e\u0301",
    "ß",
    "😀",
    "\uffff",
    'q"',
    "*",
    "a*b",
    "\n",
)
NUMBERS = (0, 1, -1, 10, 0.5, -0.5, 0.1, 1e-7, 2**53 - 1, -(2**53) + 1, 1.5, 10.25)

strings = st.sampled_from(STRINGS)
numbers = st.sampled_from(NUMBERS)
scalars: st.SearchStrategy[Json] = st.none() | st.booleans() | numbers | strings
values: st.SearchStrategy[Json] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)
documents: st.SearchStrategy[JsonObject] = st.dictionaries(st.sampled_from(KEYS[:4]), values, max_size=3)
names = st.sampled_from(("", "Ada", "ada", "ADAM", "Straße", "STRASSE", "ﬁne", "Élan", "b"))
times = st.sampled_from((0, SECOND, SECOND + 1, 2 * SECOND, -SECOND))


def _distinct(users: list[User]) -> list[User]:
    """Return the users, without identifiers that an earlier one has."""
    taken: set[Identifier] = set()
    distinct = []
    for each in users:
        doubled = taken.intersection(identifiers_of(each))
        unset: dict[str, Any] = dict.fromkeys((identifier.kind.value for identifier in doubled), "")
        distinct.append(each._replace(**unset))
        taken.update(identifiers_of(each))
    return distinct


@st.composite
def some_users(draw: st.DrawFn, max_size: int = 6) -> list[User]:
    """Draw users that have much in common."""
    users = [
        user(
            f"user_{number}",
            username=draw(names),
            email_address=draw(st.sampled_from(("", "ada@example.com", "ADA@b.org", "é@x"))),
            first_name=draw(names),
            last_name=draw(names),
            external_id=draw(st.sampled_from(("", "x1", "X1", "10"))),
            banned=draw(st.booleans()),
            email_address_verified=draw(st.booleans()),
            create_time=draw(times),
            update_time=draw(times),
            public_metadata=draw(documents),
            private_metadata=draw(documents),
        )
        for number in draw(st.permutations(range(draw(st.integers(0, max_size)))))
    ]
    return _distinct(users)


def quoted(text: str, quote: str = '"', *, star_start: bool = False, star_end: bool = False) -> str:
    """Return a string as a filter writes it, stars in it escaped."""
    escaped = "".join(f"\\{each}" if each in ("\\", quote, "*") else each for each in text)
    return f"{quote}{'*' * star_start}{escaped}{'*' * star_end}{quote}"


quotes = st.sampled_from(('"', "'"))
keys = st.sampled_from((("a",), ("b",), ("a", "b"), ("a.b",), ('q"', "a"), ("a", "a", "b")))
paths = st.builds(
    lambda document, keys, quote: ".".join([document, *(quoted(key, quote) for key in keys)]),
    st.sampled_from(("public_metadata", "private_metadata")),
    keys,
    quotes,
)
written_strings = st.builds(quoted, strings, quotes)
written_patterns = st.builds(
    lambda text, quote, start, end: quoted(text, quote, star_start=start, star_end=end),
    strings | names,
    quotes,
    st.booleans(),
    st.booleans(),
)
written_numbers = numbers.map(repr) | st.sampled_from(
    ("1.0", "1e1", "-0", "10.0", "1e300", "-1e300", "9007199254740993")
)
written_scalars = written_patterns | written_numbers | st.sampled_from(("null", "true", "false", "bare", "ab*"))
written_times = times.map(lambda time: f'"1970-01-01T00:00:0{max(0, time) / SECOND:.6f}Z"')
orderings = st.sampled_from(("<", "<=", ">", ">="))
operators = orderings | st.sampled_from(("=", "!="))
text_fields = st.sampled_from(
    (
        "id",
        "external_id",
        "username",
        "email_address",
        "first_name",
        "last_name",
        "etag",
        "metadata_etags.public_metadata",
    )
)

terms = st.one_of(
    st.builds("{} {} {}".format, paths, st.sampled_from(("=", "!=", ":")), written_scalars),
    st.builds("{} {} {}".format, paths, orderings, written_strings | written_numbers),
    st.builds("{}:*".format, paths | text_fields | st.sampled_from(("banned", "create_time", "public_metadata"))),
    st.builds("{}:{}".format, st.sampled_from(("public_metadata", "private_metadata")), written_patterns),
    st.builds("{}{}{}".format, text_fields, st.sampled_from(("=", "!=", ":")), written_patterns),
    st.builds("{} {} {}".format, text_fields, orderings, written_strings),
    st.builds("{} {} {}".format, st.sampled_from(("create_time", "update_time")), operators, written_times),
    st.builds("banned {} {}".format, st.sampled_from(("=", "!=", ":")), st.sampled_from(("true", "false"))),
    written_patterns,
)
filters: st.SearchStrategy[str] = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
        st.builds("-({})".format, inner),
    ),
    max_leaves=6,
)
conjunctions = st.lists(filters, max_size=3).map(" AND ".join)
ordered = paths | text_fields | st.sampled_from(("banned", "create_time", "update_time", "email_address_verified"))
orders = st.lists(
    st.tuples(ordered, st.sampled_from(("", " desc"))), max_size=3, unique_by=lambda key: order(key[0])
).map(lambda keys: ", ".join("".join(key) for key in keys))
index_sets = st.lists(
    st.builds(DocumentPath, st.sampled_from((Document.PUBLIC, Document.PRIVATE)), keys), max_size=8, unique=True
)
