"""What each operator means on each type, by plain evaluation and by SQL alike."""

from collections.abc import Iterator

import pytest

from tests.query.support import SECOND, Database, order, predicate, user
from usermeta_server.store.evaluation import matcher
from usermeta_server.store.predicates import (
    EVERYONE,
    Comparison,
    Conjunction,
    Contains,
    Disjunction,
    DocumentPath,
    Negation,
    Predicate,
    Present,
)

USER = user(
    "user_1",
    username="Straße",
    email_address="Ada@Example.com",
    first_name="Ada",
    last_name="O'Neil *",
    banned=True,
    create_time=1_700_000_000 * SECOND + 250_000,
    public_metadata={
        "plan": "pro",
        "ten": 10,
        "one": 1,
        "zero": 0,
        "edge": "\ud7ff\U0010ffffx",
        "half": 0.5,
        "whole": 2,
        "text": "10",
        "yes": True,
        "no": False,
        "nothing": None,
        "empty": "",
        "tags": ["a", "abc", 1, None, True, ["deep"]],
        "items": [{"sku": "x1", "n": 1}, {"sku": "x2"}, "loose", [{"sku": "x3"}]],
        "nested": {"a": {"b": {"c": "deep"}}, "first-name": "Ada", "a.b": 1, 'q"': 2, "it's": 3, "*": 4},
        "star": "a*b",
        "1": "one",
    },
)


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """A database with the one user."""
    database = Database([USER])
    yield database
    database.close()


TRUE = """
plan = "pro" | plan = pro | plan = 'pro' | plan != "PRO" | plan = "p*" | plan = "*o" | plan = "*r*" | plan = "*"
plan = "pro*" | plan = "*pro" | plan > "pr" | plan >= "pro" | plan <= "pro" | plan < "q" | plan:"pro" | plan:"p*"
ten = 10 | ten = 10.0 | ten = 1e1 | ten >= 10 | ten <= 10 | ten > 9.5 | ten < 1e300 | ten > -1e300 | ten != "10"
ten != true | ten:10 | one != true | zero != false
edge = "\ud7ff*" | edge = "\ud7ff\U0010ffff*" | edge:"\ud7ff*" | edge > "\ud7ff"
half = 0.5 | half < 1 | half > -0.5 | half != 1 | whole = 2.0
text = "10" | text != 10 | text > "1" | text < "9"
yes = true | yes != 1 | yes != "true" | yes:true | no = false | no != 0 | no != null | no:*
nothing = null | nothing:* | nothing != "" | nothing != 0 | nothing:null | missing != null | missing != 1 | -missing:*
missing != "x*" | NOT missing = null | plan != null
empty = "" | empty:* | empty = "*" | empty < "a" | empty:""
tags:"a" | tags:a | tags:"ab*" | tags:"*c" | tags:1 | tags:null | tags:true
tags != "a" | -tags:"deep" | -tags:"1" | -tags:2
items.sku:"x1" | items.sku:"x2" | items.sku:* | items.n:1 | items:"loose"
-items.sku:"x3" | items.sku != "x1" | -items.n:2
nested.a.b.c = "deep" | nested.a.b.c:* | nested.a.b:* | nested.a:"b" | -nested.a.b.c.d:*
nested:"a" | nested:"first*"
nested.first-name = Ada | nested."first-name" = "Ada" | nested."a.b" = 1 | nested.'q"' = 2 | nested."it's" = 3
nested."*" = 4 | nested:"\\*" | -nested.a.b:1 | nested."\\*" = 4
star = "a\\*b" | star = "a\\**" | star != "a\\*" | 1 = one
"""
FALSE = """
plan = "PRO" | plan = "r*" | plan = "*r" | plan = "proo*" | plan < "pro" | plan = 1 | plan = null | plan != "pro"
ten = "10" | ten = true | ten > 10 | ten < "a" | ten > "1" | ten != 10.0 | half = 0.50001 | whole > 2
text = 10 | text > 9 | yes = 1 | yes = "true" | no = 0 | no = null | yes < 5 | nothing = 0 | nothing = "" | nothing >= 0
missing = null | missing = "" | missing < 1 | missing:* | missing:"a" | missing = "*" | nothing = "*"
missing > -1e300 | nothing >= -1e300 | yes > -1e300 | missing = -1152921504606846976 | tags < 1e300 | nested > "a"
one = true | zero = false | one:true | zero:false | edge = "\ud7fe*" | edge = "\U0010ffff*" | edge < "\ud7ff"
tags = "a" | tags:"deep" | tags:"b" | tags > "a"
tags.a:* | tags.0:* | items.sku = "x1" | items.0.sku:* | items.sku:"x"
nested = "a" | nested:"c" | nested.a:"x" | nested.a.b.c.d = 1 | nested.a.b = "c" | plan.x:* | plan.x = 1 | plan:"x"
star = "a*" AND star != "a*" | nested:1
"""


def conditions(table: str) -> list[str]:
    """Return the conditions of a table, on the public document."""
    return [entry.strip() for line in table.strip().splitlines() for entry in line.split(" | ")]


def on_public(condition: str) -> str:
    """Return a condition with its path in the public document."""
    for prefix in ("NOT ", "-", ""):
        if condition.startswith(prefix):
            return f"{prefix}public_metadata.{condition.removeprefix(prefix)}".replace(" AND ", " AND public_metadata.")
    raise AssertionError


DOCUMENT_CASES = [
    *((on_public(each), True) for each in conditions(TRUE)),
    *((on_public(each), False) for each in conditions(FALSE)),
]
FIELD_CASES = [
    ("id = user_1", True),
    ('id = "user_*"', True),
    ('id > "user_0"', True),
    ("id = USER_1", False),
    ("username = STRASSE", True),
    ("username = strasse", True),
    ('username = "\uff33\uff34\uff32*"', True),
    ("username > strassd", True),
    ("username:strasse", True),
    ("username:*", True),
    ("external_id:*", False),
    ('external_id = ""', True),
    ('external_id <= ""', True),
    ('external_id >= ""', True),
    ('external_id > ""', False),
    ("external_id < x", True),
    ('external_id = "*"', True),
    ('external_id != ""', False),
    ("email_address = ada@example.com", True),
    ('email_address = "*EXAMPLE.COM"', True),
    ("email_address = ada", False),
    ("first_name = Ada", True),
    ("first_name = ada", False),
    ('last_name = "O\'Neil \\*"', True),
    ("banned = true", True),
    ("banned != true", False),
    ("banned:true", True),
    ("banned:*", True),
    ("email_address_verified:*", False),
    ("email_address_verified = false", True),
    ("etag = e1 metadata_etags.public_metadata = p1", True),
    *(
        (f'create_time {operator} "2023-11-14T22:13:20.{fraction}Z"', truth)
        for operator, truths in {
            ">": (True, False, False),
            ">=": (True, True, False),
            "<": (False, False, True),
            "<=": (False, True, True),
            "=": (False, True, False),
            "!=": (True, False, True),
            ":": (False, True, False),
        }.items()
        for fraction, truth in zip(("249999999", "250000000", "250000001"), truths, strict=True)
    ),
    ('create_time = "2023-11-14T22:13:20.25Z"', True),
    ('create_time = "2023-11-14T23:13:20.250000000+01:00"', True),
    ('create_time < "2023-11-14t22:13:20.250001z"', True),
    ('create_time > "2023-11-14T22:13:20.25Z"', False),
    ('create_time:"2023-11-14T22:13:20.25Z"', True),
    ('create_time > "2023-11-14"', True),
    ('create_time >= "2023-11-15"', False),
    ("create_time:*", True),
    ("-create_time:*", False),
    ("str", True),
    ("STRASSE", True),
    ("strasser", False),
    ("ada", True),
    ("ada@ex", True),
    ("example", False),
    ('"o\'neil"', True),
    ("*neil", True),
    ("ada*", True),
    ('"ada nobody"', False),
    ("-nobody ada", True),
    ("ada nobody", False),
    ("nobody OR ada", True),
    ("public_metadata:*", True),
    ("private_metadata:*", False),
    ("public_metadata:plan", True),
    ('public_metadata:"pl*"', True),
    ("public_metadata:pl", False),
    ("private_metadata:plan", False),
    ("", True),
]


def paths_of(sought: Predicate) -> list[DocumentPath]:
    """Return the paths that a predicate names and that an index can have."""
    match sought:
        case Conjunction(operands) | Disjunction(operands):
            return list({path for each in operands for path in paths_of(each)})
        case Negation(operand):
            return paths_of(operand)
        case Contains(path) | Present(path) | Comparison(DocumentPath() as path) if path.keys:
            return [path]
        case _:
            return []


@pytest.mark.parametrize(("text", "expected"), DOCUMENT_CASES + FIELD_CASES)
def test_a_condition_holds(database: Database, text: str, *, expected: bool) -> None:
    """Evaluation and SQL, with an index too, give what the operator means, and its negation the opposite."""
    for sought, truth in ((predicate(text), expected), (predicate(f"NOT ({text or 'create_time:*'})"), not expected)):
        assert matcher(sought)(USER) is truth
        for indexes in ([], paths_of(sought)):
            database.fill([USER], indexes)
            assert database.page(sought, order("")) == ([USER] if truth else [])
            assert database.count(sought) == truth


def test_an_empty_filter_means_everyone() -> None:
    """An empty filter and one of white space are everyone."""
    assert predicate("") == predicate(" \n") == EVERYONE
