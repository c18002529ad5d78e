"""Filters and orders through the RPCs: what AIP-160 and AIP-132 say, on users that were made through RPCs too."""

from collections.abc import Mapping
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.search.support import count, everyone, mark, names, page
from tests.support import Service, document

USERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "ada": {
        "first_name": "Ada",
        "email_address_verified": True,
        "public_metadata": {"plan": "pro", "tags": ["early", "beta"], "first-name": "A", "seats": 10},
        "private_metadata": {"credits": 10, "address": {"city": "London", "lines": [{"no": 1}, {"no": 2}]}},
        "unsafe_metadata": {"beta": None},
    },
    "bob": {
        "first_name": "Bob",
        "banned": True,
        "public_metadata": {"plan": "free", "tags": "early", "seats": "10"},
        "private_metadata": {"credits": -2.5},
        "unsafe_metadata": {"beta": True},
    },
    "cyd": {"last_name": "Adams", "public_metadata": {"plan": None, "tags": []}, "private_metadata": {"credits": 10.5}},
    "dee": {"external_id": "idp|dee"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def marked(service: Service) -> str:
    """Make the users, and return a condition that finds only them."""
    word = mark()
    for name, fields in USERS.items():
        values = {**fields, "private_metadata": {**fields.get("private_metadata", {}), "mark": word}}
        if "external_id" in values:
            values["external_id"] = f"{values['external_id']}-{word}"
        email = f"{name}@{word}.example"
        await service.user(username=f"{name}-{word}", email_address=email, **values)
    return f"private_metadata.mark = {word}"


FOUND: Final = [
    ("", "ada bob cyd dee"),
    ('public_metadata.plan = "pro"', "ada"),
    ("public_metadata.plan = pro OR public_metadata.plan = free", "ada bob"),
    ('public_metadata.plan = "pro" AND private_metadata.credits >= 10 AND unsafe_metadata.beta:*', "ada"),
    ("public_metadata.plan != pro", "bob cyd dee"),
    ("NOT public_metadata.plan = pro", "bob cyd dee"),
    ("-public_metadata.plan = pro", "bob cyd dee"),
    ("public_metadata.plan:*", "ada bob cyd"),
    ("-public_metadata.plan:*", "dee"),
    ("public_metadata.plan = null", "cyd"),
    ('public_metadata.plan = "null"', ""),
    ("public_metadata.seats = 10", "ada"),
    ('public_metadata.seats = "10"', "bob"),
    ("private_metadata.credits >= 10", "ada cyd"),
    ("private_metadata.credits < 0", "bob"),
    ("private_metadata.credits = -2.5", "bob"),
    ("private_metadata.address.city = London", "ada"),
    ("private_metadata.address.lines.no:2", "ada"),
    ('public_metadata.tags:"early"', "ada bob"),
    ("public_metadata.tags = early", "bob"),
    ("public_metadata:plan", "ada bob cyd"),
    ('public_metadata."first-name" = A', "ada"),
    ('public_metadata.plan = "p*"', "ada"),
    ('public_metadata.plan = "*r*"', "ada bob"),
    ("banned = true", "bob"),
    ("banned = false AND email_address_verified = true", "ada"),
    ("external_id:*", "dee"),
    ("unsafe_metadata.beta = true", "bob"),
    # OR binds tighter than AND.
    ("banned = true AND public_metadata.plan = pro OR public_metadata.plan = free", "bob"),
    # A bare word: usernames, addresses and names by their beginning, without regard to case.
    ("ada", "ada cyd"),
    ("ADA AND banned = false", "ada cyd"),
    ('create_time > "2020-01-01T00:00:00Z"', "ada bob cyd dee"),
    ('create_time < "2020-01-01T00:00:00+02:00"', ""),
]


@pytest.mark.parametrize(("text", "expected"), FOUND)
async def test_a_filter_finds_those_and_only_those(service: Service, marked: str, text: str, expected: str) -> None:
    own = f"{marked} AND ({text})" if text else marked
    assert " ".join(await names(service, own)) == expected
    assert await count(service, own) == len(expected.split())


ORDERED: Final = [
    ("username desc", "dee cyd bob ada"),
    ("create_time desc", "dee cyd bob ada"),
    ("create_time", "ada bob cyd dee"),
    ("private_metadata.credits", "dee bob ada cyd"),
    ("private_metadata.credits desc", "cyd ada bob dee"),
    # Missing, null, strings by code point.
    ("public_metadata.plan", "dee cyd bob ada"),
    # Missing, number, string.
    ("public_metadata.seats desc, username desc", "bob ada dee cyd"),
    ("banned desc, username", "bob ada cyd dee"),
]


@pytest.mark.parametrize(("order", "expected"), ORDERED)
async def test_an_order_is_kept_over_pages(service: Service, marked: str, order: str, expected: str) -> None:
    assert " ".join(await names(service, marked, order)) == expected
    fields = {"filter": marked, "order_by": order, "page_size": 1}
    assert [each.username[:3] for each in await everyone(service, **fields)] == expected.split()


async def test_a_found_user_is_whole(service: Service, marked: str) -> None:
    (found,) = (await page(service, filter=f"{marked} AND public_metadata.plan = pro")).users
    assert found == await service.get(found.id)
    assert document(found.public_metadata)["tags"] == ["early", "beta"]


async def test_what_was_written_last_is_found_at_once(service: Service) -> None:
    """Evaluation is strongly consistent: a write that was acknowledged decides."""
    word = mark()
    for number in range(20):
        made = await service.user(private_metadata={word: number})
        assert [each.id for each in await everyone(service, filter=f"private_metadata.{word} = {number}")] == [made.id]
