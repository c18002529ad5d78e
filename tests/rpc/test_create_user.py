"""CreateUser: what a user is made of, and what is unique."""

import uuid
from itertools import pairwise
from typing import Final

import grpc
import pytest

from tests.rpc.users import INVALID_FIELDS, full, unique
from tests.support import Service, document, refused
from usermeta.backend.v1 import backend_service_pb2 as pb


async def test_a_user_is_made_of_all_that_was_given(service: Service) -> None:
    given = full()
    documents = {"public_metadata": {"a": 1}, "private_metadata": {"b": [None]}, "unsafe_metadata": {"c": {}}}
    made = await service.user(**given, **documents)
    assert made.id.startswith("user_")
    assert {name: getattr(made, name) for name in given} == given
    assert {name: document(getattr(made, name)) for name in documents} == documents
    assert made.create_time == made.update_time
    assert made.etag
    assert all(getattr(made.metadata_etags, name) for name in documents)
    assert await service.get(made.id) == made


async def test_a_user_needs_nothing(service: Service) -> None:
    made = (await service.admin.CreateUser(pb.CreateUserRequest())).user
    assert made.id
    assert all(made.HasField(name) for name in ("public_metadata", "private_metadata", "unsafe_metadata"))
    assert not document(made.public_metadata)


async def test_ids_are_sortable_by_time(service: Service) -> None:
    made = [(await service.user()) for _ in range(3)]
    stamps = [(user.create_time.ToMicroseconds() // 1000, user.id) for user in made]
    assert len({user.id for user in made}) == 3
    assert [stamp for stamp, _ in stamps] == sorted(stamp for stamp, _ in stamps)
    assert all(a[1] < b[1] for a, b in pairwise(stamps) if a[0] < b[0])


async def test_an_import_may_give_the_id(service: Service) -> None:
    user_id = f"user_{uuid.uuid4().hex}"
    made = (await service.admin.CreateUser(pb.CreateUserRequest(user_id=user_id))).user
    assert made.id == user_id
    refusal = await refused(service.admin.CreateUser(pb.CreateUserRequest(user_id=user_id)), "IDENTIFIER_TAKEN")
    assert refusal.code is grpc.StatusCode.ALREADY_EXISTS
    assert refusal.metadata == {"field": "user_id"}


@pytest.mark.parametrize("user_id", ["ada", "user_", "user_é", "user_a b", "user_" + "x" * 124, "User_1", "user_1\n"])
async def test_a_given_id_has_a_form(service: Service, user_id: str) -> None:
    refusal = await refused(service.admin.CreateUser(pb.CreateUserRequest(user_id=user_id)), "FIELD_INVALID")
    assert refusal.fields == ("user_id",)


TAKEN: Final = [
    ("username", "Straße", "STRASSE"),
    ("username", "Ada", "aDA"),
    ("username", "\N{LATIN SMALL LIGATURE FI}t", "FIT"),
    ("username", "\N{ANGSTROM SIGN}", "\N{LATIN SMALL LETTER A WITH RING ABOVE}"),
    ("email_address", "Ada@Example.com", "ada@example.COM"),
    ("username", "heart\ufe0f", "he\u034fart"),
    ("email_address", "ada@bücher.example", "ADA@xn--bcher-kva.example"),
    ("email_address", "ada@bücher.test", "ada@bücher\u3002test"),
    ("email_address", "ad\u034fa@invisible.example", "ada@invis\u034fible.example"),
    ("external_id", "idp|1", "idp|1"),
]


@pytest.mark.parametrize(("field", "first", "second"), TAKEN)
async def test_an_identifier_is_one_users_in_whatever_way_it_is_written(
    service: Service, field: str, first: str, second: str
) -> None:
    prefix = unique("x")
    await service.user(**{field: f"{prefix}{first}"})
    refusal = await refused(service.user(**{field: f"{prefix}{second}"}), "IDENTIFIER_TAKEN")
    assert refusal.metadata == {"field": f"user.{field}"}


async def test_an_external_id_is_compared_exactly(service: Service) -> None:
    stem = unique()
    await service.user(external_id=stem + "A")
    assert (await service.user(external_id=stem + "a")).id


async def test_identifiers_that_are_not_set_belong_to_nobody(service: Service) -> None:
    first, second = await service.user(first_name="one"), await service.user(first_name="two")
    assert first.id != second.id


async def test_a_refused_user_claims_nothing(service: Service) -> None:
    taken, free = unique(), unique()
    await service.user(username=taken)
    await refused(service.user(username=taken, email_address=f"{free}@example.com"), "IDENTIFIER_TAKEN")
    assert (await service.user(email_address=f"{free}@example.com")).id


VALID_FIELDS: Final = [
    ("username", "x" * 256),
    ("first_name", "é" * 256),
    ("external_id", "é" * 100),
    ("image_url", "https://example.com/" + "x" * 2028),
    ("image_url", "HTTPS://example.com:8443/?q=1#f"),
]


@pytest.mark.parametrize(("field", "value"), INVALID_FIELDS)
async def test_a_field_that_is_malformed_is_named(service: Service, field: str, value: str) -> None:
    refusal = await refused(service.user(**{field: value}), "FIELD_INVALID")
    assert refusal.fields == (f"user.{field}",)
    assert refusal.metadata == {"field": f"user.{field}"}


@pytest.mark.parametrize(("field", "value"), VALID_FIELDS)
async def test_a_field_at_its_limit_is_kept_as_it_is(service: Service, field: str, value: str) -> None:
    value = unique("")[: 256 - len(value)] + value if field == "external_id" else value
    made = await service.user(**{field: value})
    assert getattr(await service.get(made.id), field) == value
    await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=made.id))


async def test_all_malformed_fields_are_named_at_once(service: Service) -> None:
    refusal = await refused(service.user(username=" a", email_address="b", image_url="c"), "FIELD_INVALID")
    assert sorted(refusal.fields) == ["user.email_address", "user.image_url", "user.username"]
