"""Users whose identifier is another's since a refold: found by id only, in nobody's way, and mended by updates."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.old_folds import make_old
from tests.support import Service, refused, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User


@pytest.fixture
async def old(tmp_path: Path) -> AsyncIterator[Service]:
    """Run a server on a store of an earlier program; see `old_folds.OLD`."""
    chosen = settings(tmp_path)
    await make_old(chosen.database_url)
    async with serving(chosen) as service:
        yield service


async def by_name(service: Service, username: str) -> str:
    """Return the id of the user that has a name."""
    return (await service.admin.GetUser(pb.GetUserRequest(username=username))).user.id


async def update(service: Service, user_id: str, **fields: Any) -> User:  # noqa: ANN401  # any field
    request = pb.UpdateUserRequest(user=User(id=user_id, **fields))
    return (await service.admin.UpdateUser(request)).user


async def found(service: Service, text: str, order: str = "") -> list[str]:
    """Return the ids of the users that a filter finds."""
    request = pb.ListUsersRequest(filter=text, order_by=order)
    return [each.id for each in (await service.admin.ListUsers(request)).users]


async def test_who_lost_an_identifier_is_found_by_id_with_the_text_as_it_was(old: Service) -> None:
    assert (await old.get("user_4")).username == "a\u00addmin"
    for name in ("admin", "ADMIN", "a\u00addmin", "ad\u200bmin"):
        assert await by_name(old, name) == "user_9"
    address = pb.GetUserRequest(email_address="a@BÜCHER.de")
    assert (await old.admin.GetUser(address)).user.id == "user_2"
    await refused(old.admin.GetUser(pb.GetUserRequest(username="\u200b")), "USER_NOT_FOUND")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('username = "admin"', ["user_9"]),
        ('username = "a\u00addmin"', ["user_9"]),
        ('username = "adm*" AND id != "user_7"', ["user_9"]),
        ('username = "*min"', ["user_9"]),
        ('username > "ada"', ["user_9"]),
        ('email_address = "a@bücher.de"', ["user_2"]),
        ('email_address = "*@bücher.de"', ["user_2"]),
        ('email_address = "a@xn--b*"', ["user_2"]),
        ('username = "admin" OR banned = true', ["user_9"]),
        ('email_address = "a@bücher.de" OR banned = true', ["user_2"]),
        ('NOT username = "admin"', ["user_1", "user_2", "user_4", "user_5", "user_6", "user_7"]),
    ],
)
async def test_filters_find_whom_looking_up_finds(old: Service, text: str, ids: list[str]) -> None:
    """By whatever way through the store, in whatever order."""
    assert await found(old, text) == ids
    assert sorted(await found(old, text, "update_time, username desc")) == ids
    assert (await old.admin.CountUsers(pb.CountUsersRequest(filter=text))).count == len(ids)


async def test_deleting_who_lost_it_leaves_it_to_its_owner(old: Service) -> None:
    await old.admin.DeleteUser(pb.DeleteUserRequest(user_id="user_4"))
    assert await by_name(old, "admin") == "user_9"
    await refused(old.user(username="admin"), "IDENTIFIER_TAKEN")


async def test_renaming_who_lost_it_leaves_it_to_its_owner(old: Service) -> None:
    assert (await update(old, "user_4", username="root")).username == "root"
    assert await by_name(old, "admin") == "user_9"
    assert await by_name(old, "root") == "user_4"
    await refused(old.user(username="Admin"), "IDENTIFIER_TAKEN")


async def test_other_fields_change_while_it_is_anothers(old: Service) -> None:
    """The text stays, though it would be refused today; it is found by no name still."""
    changed = await update(old, "user_4", first_name="Ada")
    assert (changed.username, changed.first_name) == ("a\u00addmin", "Ada")
    assert await by_name(old, "admin") == "user_9"
    await refused(update(old, "user_4", username="a\u00addmin"), "FIELD_INVALID")
    await refused(update(old, "user_4", username="aDmin"), "IDENTIFIER_TAKEN")


async def test_an_update_takes_what_its_owner_gave_up(old: Service) -> None:
    """Any update; until then nobody has it."""
    await update(old, "user_9", username="root")
    await refused(old.admin.GetUser(pb.GetUserRequest(username="admin")), "USER_NOT_FOUND")
    await update(old, "user_4", first_name="Ada")
    assert await by_name(old, "admin") == "user_4"
    await refused(old.user(username="admin"), "IDENTIFIER_TAKEN")
    await update(old, "user_4", username="admin")
    await old.admin.DeleteUser(pb.DeleteUserRequest(user_id="user_4"))
    assert (await old.user(username="admin")).username == "admin"


async def test_a_user_renamed_by_many_at_once_holds_one_name(old: Service) -> None:
    """Each update gives up the name that was there when it was written, whatever it had seen before."""
    names = [f"name-{number}" for number in range(20)]
    await asyncio.gather(*(update(old, "user_7", username=name) for name in names))
    kept = (await old.get("user_7")).username
    assert await by_name(old, kept) == "user_7"
    for name in [*names, "ada"]:
        if name != kept:
            assert (await old.user(username=name)).username == name


async def test_a_user_deleted_and_renamed_at_once_leaves_no_name(old: Service) -> None:
    deleting = old.admin.DeleteUser(pb.DeleteUserRequest(user_id="user_7"))
    await asyncio.gather(update(old, "user_7", username="other"), deleting, return_exceptions=True)
    for name in ("ada", "other"):
        assert (await old.user(username=name)).username == name
