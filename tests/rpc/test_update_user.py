"""UpdateUser, of both services: masks, and what a caller may change."""

from typing import Any, Final

import pytest

from tests.rpc.users import INVALID_FIELDS, full, unique
from tests.support import Service, document, refused, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1.user_pb2 import User as FrontendUser


def update(user_id: str, *mask: str, **fields: Any) -> pb.UpdateUserRequest:  # noqa: ANN401  # any field
    """Make a request that changes a user."""
    request = pb.UpdateUserRequest(user=User(id=user_id, **fields))
    request.update_mask.paths.extend(mask)
    return request


async def test_without_a_mask_the_populated_fields_change(service: Service) -> None:
    made = await service.user(**full())
    changed = (await service.admin.UpdateUser(update(made.id, first_name="Augusta"))).user
    assert changed.first_name == "Augusta"
    assert (changed.last_name, changed.username, changed.banned) == (made.last_name, made.username, True)


async def test_with_a_mask_only_the_masked_fields_change(service: Service) -> None:
    made = await service.user(**full())
    request = update(made.id, "first_name", first_name="Augusta", last_name="Byron")
    changed = (await service.admin.UpdateUser(request)).user
    assert (changed.first_name, changed.last_name) == ("Augusta", made.last_name)


@pytest.mark.parametrize("field", ["external_id", "username", "email_address", "first_name", "last_name", "image_url"])
async def test_a_masked_empty_string_unsets_the_field(service: Service, field: str) -> None:
    made = await service.user(**full())
    changed = (await service.admin.UpdateUser(update(made.id, field))).user
    assert getattr(changed, field) == ""
    assert await service.get(made.id) == changed


@pytest.mark.parametrize("field", ["external_id", "username", "email_address"])
async def test_an_identifier_that_is_unset_or_changed_is_free_again(service: Service, field: str) -> None:
    given = full()
    made = await service.user(**given)
    await service.admin.UpdateUser(update(made.id, field))
    again = await service.user(**{field: given[field]})
    assert getattr(again, field) == given[field]
    await refused(service.admin.UpdateUser(update(made.id, **{field: given[field]})), "IDENTIFIER_TAKEN")


async def test_a_user_may_respell_its_own_name(service: Service) -> None:
    name = unique("Ada")
    made = await service.user(username=name)
    changed = (await service.admin.UpdateUser(update(made.id, username=name.upper()))).user
    assert changed.username == name.upper()
    await refused(service.user(username=name), "IDENTIFIER_TAKEN")


@pytest.mark.parametrize("field", ["banned", "email_address_verified"])
async def test_a_masked_false_is_false(service: Service, field: str) -> None:
    made = await service.user(**full())
    assert getattr((await service.admin.UpdateUser(update(made.id, field))).user, field) is False


async def test_a_star_is_every_field(service: Service) -> None:
    made = await service.user(**full(), public_metadata={"kept": True})
    changed = (await service.admin.UpdateUser(update(made.id, "*", first_name="Only"))).user
    assert changed.first_name == "Only"
    for field in ("external_id", "username", "email_address", "last_name", "image_url"):
        assert getattr(changed, field) == ""
    assert not changed.banned
    assert document(changed.public_metadata) == {"kept": True}


NOT_UPDATED: Final = (
    "public_metadata",
    "private_metadata",
    "unsafe_metadata",
    "public_metadata.plan",
    "id",
    "etag",
    "metadata_etags",
    "create_time",
    "update_time",
    "nonsense",
    "",
)


@pytest.mark.parametrize("path", NOT_UPDATED)
async def test_documents_and_output_only_fields_in_the_mask_are_refused(service: Service, path: str) -> None:
    made = await service.user()
    refusal = await refused(service.admin.UpdateUser(update(made.id, "first_name", path)), "FIELD_INVALID")
    assert refusal.fields == ("update_mask",)


async def test_a_document_in_an_update_without_a_mask_is_refused(service: Service) -> None:
    made = await service.user()
    request = update(made.id, first_name="Ada", private_metadata=struct({"a": 1}))
    refusal = await refused(service.admin.UpdateUser(request), "FIELD_INVALID")
    assert refusal.fields == ("user.private_metadata",)


async def test_an_update_names_its_user(service: Service) -> None:
    refusal = await refused(service.admin.UpdateUser(update("", first_name="Ada")), "FIELD_INVALID")
    assert refusal.fields == ("user.id",)
    await refused(service.admin.UpdateUser(update("user_nobody", first_name="Ada")), "USER_NOT_FOUND")


@pytest.mark.parametrize(
    ("fields", "verified"),
    [
        ({"email_address": "{}@new.example"}, False),
        ({"email_address": "{}@new.example", "email_address_verified": True}, True),
        ({"email_address": "{}@old.example"}, True),
        ({"first_name": "Ada"}, True),
    ],
)
async def test_a_new_address_is_not_verified_unless_the_update_says_so(
    service: Service, fields: dict[str, str | bool], *, verified: bool
) -> None:
    name = unique()
    made = await service.user(email_address=f"{name}@old.example", email_address_verified=True)
    filled = {field: value.format(name) if isinstance(value, str) else value for field, value in fields.items()}
    changed = (await service.admin.UpdateUser(update(made.id, **filled))).user
    assert changed.email_address_verified is verified


async def test_an_address_that_is_unset_is_not_verified(service: Service) -> None:
    made = await service.user(email_address=f"{unique()}@old.example", email_address_verified=True)
    changed = (await service.admin.UpdateUser(update(made.id, "email_address"))).user
    assert not changed.email_address_verified


@pytest.mark.parametrize(("field", "value"), [each for each in INVALID_FIELDS if each[0] in {"username", "image_url"}])
async def test_a_frontends_update_has_the_same_forms(service: Service, field: str, value: str) -> None:
    made = await service.user()
    frontend = service.frontend(await service.session(made.id))
    user = FrontendUser(**{field: value})  # type: ignore[arg-type]  # all of these are strings
    refusal = await refused(frontend.UpdateUser(frontend_pb.UpdateUserRequest(user=user)), "FIELD_INVALID")
    assert refusal.fields == (f"user.{field}",)


async def test_a_frontend_changes_names_and_image_and_nothing_else(service: Service) -> None:
    made = await service.user(**{**full(), "banned": False})
    frontend = service.frontend(await service.session(made.id))
    names = {"username": unique(), "first_name": "A", "last_name": "B", "image_url": "https://example.com/b.png"}
    user = FrontendUser(**names, email_address="new@example.com")  # type: ignore[arg-type]  # all of these are strings
    reply = await frontend.UpdateUser(frontend_pb.UpdateUserRequest(user=user))
    after = await service.get(made.id)
    assert {name: getattr(after, name) for name in names} == names
    assert (after.email_address, after.email_address_verified) == (made.email_address, True)
    assert reply.user.email_address == made.email_address


async def test_a_frontends_star_leaves_alone_what_is_not_its_own(service: Service) -> None:
    made = await service.user(**{**full(), "banned": False})
    frontend = service.frontend(await service.session(made.id))
    request = frontend_pb.UpdateUserRequest(user=FrontendUser(first_name="Only"))
    request.update_mask.paths.append("*")
    await frontend.UpdateUser(request)
    after = await service.get(made.id)
    assert (after.first_name, after.last_name, after.username) == ("Only", "", "")
    assert (after.email_address, after.external_id) == (made.email_address, made.external_id)
    assert after.email_address_verified
