"""Orders (AIP-132): how they are read, what they mean across types, and the places in them."""

import pytest

from tests.query.support import SECOND, Database, order, predicate, user
from usermeta_server.core.query import from_cursor, parse_order, to_cursor
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.store.evaluation import place_of, sort_key
from usermeta_server.store.predicates import Field, Order, OrderKey, Place
from usermeta_server.values import Json, Rank, SortValue

ASCENDING: tuple[tuple[Json, ...], ...] = (
    (None,),
    (False,),
    (True,),
    (-(2**53) + 1,),
    (-1.5,),
    (0,),
    (1, 1.0),
    (10,),
    ("",),
    ("10",),
    ("A",),
    ("a",),
    ("é",),
    ("\uffff",),
    ("😀",),
    ([], [0], ["a"]),
    ({}, {"a": 1}),
)
"""Values of each place in the order, missing apart; those of one place are equal."""


@pytest.mark.parametrize(
    "text", ["banned,create_time desc", " banned , create_time desc ", "banned asc,create_time  desc"]
)
def test_white_space_does_not_matter(text: str) -> None:
    """The AIP's spellings of one order are one order."""
    banned, time = OrderKey(Field("banned")), OrderKey(Field("create_time"), descending=True)
    assert order(text) == Order((banned, time))
    assert parse_order(" id  desc ").canonical == "id desc"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Order()),
        ("id", Order()),
        ("id desc", Order(id_descending=True)),
        ("banned, id desc, create_time", Order((OrderKey(Field("banned")),), id_descending=True)),
    ],
)
def test_nothing_orders_behind_the_id(text: str, expected: Order) -> None:
    """The id is the last key in any case, so a named one ends the order."""
    assert order(text) == expected


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        (",", 1, "expected a field"),
        ("id,", 4, "expected a field"),
        ("id id", 4, "expected 'asc', 'desc' or ','"),
        ("id DESC", 4, "expected 'asc', 'desc' or ','"),
        ("nothing", 1, "there is no field 'nothing'"),
        ("banned, public_metadata", 9, "expected a path in the document"),
        ("banned, banned desc", 9, "is named twice"),
        (
            "public_metadata.a, public_metadata.b, public_metadata.c, banned, create_time, id",
            79,
            "more than the 5 keys",
        ),
        ("public_metadata.'a", 17, "not closed"),
        ("f(id)", 1, "functions are not supported"),
    ],
)
def test_a_wrong_order_is_refused_with_its_place(text: str, position: int, message: str) -> None:
    """The refusal is ORDER_INVALID and names the position, counted from 1."""
    with pytest.raises(UsermetaError) as caught:
        parse_order(text)
    assert caught.value.reason is Reason.ORDER_INVALID
    assert (caught.value.metadata["field"], caught.value.metadata["position"]) == ("order_by", str(position))
    assert message in caught.value.message


@pytest.mark.parametrize("indexed", [False, True])
def test_values_of_all_types_have_their_places(*, indexed: bool) -> None:
    """Missing, null, false, true, numbers, strings by code point, lists, objects; `desc` reverses that; ties by id."""
    values = [("missing", user("user_000"))]
    for place, equals in enumerate(ASCENDING):
        for number, value in enumerate(equals):
            values.append((repr(value), user(f"user_1{place:02}{number}", public_metadata={"v": value})))
    users = [each for _, each in values]
    ascending, descending = order("public_metadata.v"), order("public_metadata.v desc")
    path = ascending.keys[0].target
    database = Database(reversed(users), [path] if indexed else [])  # type: ignore[list-item]  # a document's path
    assert database.page(predicate(""), ascending) == users == sorted(users, key=sort_key(ascending))
    reverse = sorted(users, key=sort_key(descending))
    assert database.page(predicate(""), descending) == reverse
    places = [each.id[:8] for each in users]
    assert [each.id[:8] for each in reverse] == sorted(places, reverse=True)
    database.close()


def test_usernames_are_ordered_folded() -> None:
    """Usernames and addresses are ordered as they are compared; unset ones come first."""
    users = [
        user("user_4"),
        user("user_3", username="ADA"),
        user("user_2", username="bob"),
        user("user_1", username="Zoë"),
    ]
    assert sorted([*users[2:], *users[:2]], key=sort_key(order("username"))) == users
    database = Database(users)
    assert database.page(predicate(""), order("username")) == users
    database.close()


def test_a_place_survives_being_a_cursor() -> None:
    """A place becomes JSON and comes back the same; other JSON is refused."""
    someone = user("user_1", banned=True, create_time=5 * SECOND, public_metadata={"a": 0.1, "b": "x", "c": []})
    place = place_of(order("banned, create_time, public_metadata.a, public_metadata.b, public_metadata.c"))(someone)
    number = Rank.NUMBER
    assert place.values[:3] == (SortValue(number, 1), SortValue(number, 5 * SECOND), SortValue(number, 0.1))
    assert from_cursor(to_cursor(place)) == place
    assert from_cursor(to_cursor(Place((), "user_1"))) == Place((), "user_1")
    wrong: list[Json] = [None, [], ["user_1"], [[], 1], [[[9, 0]], "user_1"], [[[1]], "user_1"]]
    for cursor in wrong:
        with pytest.raises(ValueError, match="not a"):
            from_cursor(cursor)
