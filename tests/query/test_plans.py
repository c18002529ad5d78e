"""How SQLite goes about the queries: by an index where there is one, and never by more than the page needs."""

from collections.abc import Iterator

import pytest

from tests.query.support import SECOND, Database, order, predicate, user
from usermeta_server.model import Document
from usermeta_server.store.evaluation import place_of
from usermeta_server.store.predicates import DocumentPath, UserQuery
from usermeta_server.store.sqlite.selects import FEW

PLAN = DocumentPath(Document.PUBLIC, ("plan",))
CREDITS = DocumentPath(Document.PRIVATE, ("credits",))
TAGS = DocumentPath(Document.PUBLIC, ("tags",))
MANY = FEW + 1

SORT = "USE TEMP B-TREE FOR ORDER BY"
ENTRIES = "SEARCH e USING PRIMARY KEY (index_id=? AND part=?"
BY_TIME = "users_by_create_time ((create_time,id)"


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """A few users, with three indexes."""
    users = [
        user(
            f"user_{number:02}",
            username=f"name{number}",
            create_time=number // 2 * SECOND,
            public_metadata={"plan": "pro" if number % 2 else "free", "tags": ["a", "b"]},
            private_metadata={"credits": number % 5},
        )
        for number in range(20)
    ]
    database = Database(users, [PLAN, CREDITS, TAGS])
    yield database
    database.close()


def steps(database: Database, text: str, by: str, counts: list[int], *, later: bool = False) -> list[str]:
    """Return the steps of finding a page's ids, of the first page or a later one."""
    sought, ordered = predicate(text), order(by)
    after = place_of(ordered)(database.page(sought, ordered)[0]) if later else None
    plan = database.plan(database.queries.page(UserQuery(sought, ordered, after, 10), counts)).splitlines()
    assert plan[0] == "CO-ROUTINE page"
    end = plan.index("SCAN page")
    assert plan[end + 1 :] == ["SEARCH users USING INDEX sqlite_autoindex_users_1 (id=?)", SORT]
    return plan[1:end]


@pytest.mark.parametrize(
    ("text", "by", "counts", "first", "later"),
    [
        ("", "", [], "sqlite_autoindex_users_1", "sqlite_autoindex_users_1 (id>?)"),
        ("", "id desc", [], "sqlite_autoindex_users_1", "sqlite_autoindex_users_1 (id<?)"),
        ("", "create_time", [], "users_by_create_time", f"{BY_TIME}>(?,?))"),
        ("", "create_time desc", [], "users_by_create_time", "users_by_create_time (create_time<?)"),
        ("", "create_time desc, banned", [], "users_by_create_time", "users_by_create_time (create_time<?)"),
        ("banned = false", "create_time desc", [], "users_by_create_time", "users_by_create_time (create_time<?)"),
        ("", "public_metadata.plan", [], f"{ENTRIES})", f"{ENTRIES} AND (key,user_id)>(?,?))"),
        ("", "private_metadata.credits desc", [], f"{ENTRIES})", f"{ENTRIES} AND key<?)"),
        ("public_metadata.plan = pro", "", [MANY], f"{ENTRIES} AND key=?)", f"{ENTRIES} AND key=? AND user_id>?)"),
        (
            "public_metadata.plan = pro AND banned = false",
            "id desc",
            [MANY],
            f"{ENTRIES} AND key=?)",
            f"{ENTRIES} AND key=? AND user_id<?)",
        ),
        (
            "private_metadata.credits >= 2 AND public_metadata.x != 1",
            "private_metadata.credits",
            [MANY],
            f"{ENTRIES} AND key>? AND key<?)",
            f"{ENTRIES} AND (key,user_id)>(?,?) AND key<?)",
        ),
        (
            "private_metadata.credits < 3",
            "private_metadata.credits desc",
            [MANY],
            f"{ENTRIES} AND key>? AND key<?)",
            f"{ENTRIES} AND key>? AND key<?)",
        ),
        (
            'public_metadata.plan = "p*"',
            "public_metadata.plan",
            [MANY],
            f"{ENTRIES} AND key>? AND key<?)",
            f"{ENTRIES} AND (key,user_id)>(?,?) AND key<?)",
        ),
        ("public_metadata.plan = pro", "create_time", [MANY], "users_by_create_time", f"{BY_TIME}>(?,?))"),
        ("public_metadata.tags:a", "create_time", [MANY], "users_by_create_time", f"{BY_TIME}>(?,?))"),
        (
            'create_time >= "1970-01-01T00:00:01Z"',
            "create_time",
            [MANY],
            "users_by_create_time (create_time>? AND create_time<?)",
            f"{BY_TIME}>(?,?) AND create_time<?)",
        ),
    ],
)
def test_a_page_is_read_in_the_order_of_an_index(
    database: Database, *, text: str, by: str, counts: list[int], first: str, later: str
) -> None:
    """Both pages are sought in an index that has the order; only equals are sorted, when it descends."""
    for expected, plan in (
        (first, steps(database, text, by, counts)),
        (later, steps(database, text, by, counts, later=True)),
    ):
        assert expected in plan[0]
        assert SORT not in "\n".join(plan)


@pytest.mark.parametrize(
    ("text", "by", "counts", "sought"),
    [
        ("public_metadata.plan = pro", "create_time", [5], f"{ENTRIES} AND key=?)"),
        ("private_metadata.credits > 1", "", [5], f"{ENTRIES} AND key>? AND key<?)"),
        ("public_metadata.tags:a", "create_time", [5], f"{ENTRIES} AND key=?)"),
        ("public_metadata.plan = pro AND private_metadata.credits = 1", "username", [MANY, 5], f"{ENTRIES} AND key=?)"),
        ('username = "name*"', "create_time", [5], "SEARCH e USING PRIMARY KEY (kind=? AND key>? AND key<?)"),
        ("public_metadata.plan = pro", "public_metadata.x", [MANY], f"{ENTRIES} AND key=?)"),
    ],
)
def test_few_users_are_found_and_sorted(database: Database, text: str, by: str, counts: list[int], sought: str) -> None:
    """What few users fulfil is found by its index and sorted; what many do too, where no index has the order."""
    plan = steps(database, text, by, counts)
    assert sought in plan[0]
    assert SORT in plan


def test_the_smaller_of_two_is_chosen(database: Database) -> None:
    """Of two indexed conditions that one drives the query which fewer users fulfil."""
    sought = predicate("public_metadata.plan = pro AND private_metadata.credits = 1")
    for counts, index in (([MANY, 5], 2), ([5, MANY], 1)):
        statement = database.queries.page(UserQuery(sought, order(""), None, 10), counts)
        assert f"e.index_id = :index{index} " in statement.sql


@pytest.mark.parametrize(
    ("text", "sought"),
    [
        ("id = user_01", "SEARCH u USING INDEX sqlite_autoindex_users_1 (id=?)"),
        ("username = NAME1", "SEARCH e USING PRIMARY KEY (kind=? AND key=?)"),
        ("external_id = x1", "SEARCH e USING PRIMARY KEY (kind=? AND key=?)"),
    ],
)
def test_an_identifier_is_looked_up(database: Database, text: str, sought: str) -> None:
    """A condition on the id or another identifier, among others, reads one user whatever the order."""
    for by in ("", "create_time", "public_metadata.plan desc"):
        assert steps(database, f"{text} AND banned = false", by, [1])[0] == sought


def test_probing_counts_few_users_only(database: Database) -> None:
    """Probing counts by indexes alone, and stops counting where it is many."""
    probe = database.queries.probe(predicate("public_metadata.plan = pro AND banned = true AND username = name1"))
    assert probe is not None
    assert database.run(probe) == [(10, 1)]
    assert probe.sql.count(f"LIMIT {MANY}") == 2
    assert "SCAN e" not in database.plan(probe)
    assert "SEARCH u" not in database.plan(probe)
    assert database.queries.probe(predicate("banned = true OR public_metadata.plan = pro")) is None


def test_counting_by_an_index_alone_reads_no_user(database: Database) -> None:
    """Where one index says it all, only its entries are counted."""
    statement = database.queries.count(predicate("public_metadata.plan = pro"), [MANY])
    assert database.plan(statement) == f"{ENTRIES} AND key=?)"
    assert database.run(statement) == [(10,)]


@pytest.mark.parametrize(
    "text", ["public_metadata.plan != pro", 'public_metadata.plan = "*o"', "public_metadata.x = 1"]
)
def test_what_no_index_serves_is_tested_in_order(database: Database, text: str) -> None:
    """A condition that no index serves is tested on the users as they come in order."""
    plan = steps(database, text, "create_time", [])
    assert "users_by_create_time" in plan[0]
    assert SORT not in plan
