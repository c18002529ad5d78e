"""Pages of ListUsers: their sizes, their fields, their tokens, and that they end early rather than be too large."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.search.support import count, everyone, listing, mark, page, pages, put
from tests.support import USER, Service, document, refused, serving, settings, struct
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta_server.ids import new_id
from usermeta_server.model import Scope
from usermeta_server.services.packing import MAX_REPLY

MANY: Final = 1100


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def many(service: Service) -> str:
    """Make more users than a page may have, and return a filter that finds them."""
    word = mark()
    text = f'{{"mark":"{word}"}}'
    await put(
        service.server.app.store, [USER._replace(id=new_id("user", 1), private_metadata=text) for _ in range(MANY)]
    )
    return f"private_metadata.mark = {word}"


@pytest.mark.parametrize(
    ("asked", "given"), [(0, 50), (1, 1), (999, 999), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)]
)
async def test_a_page_has_the_size_that_was_asked_for(service: Service, many: str, asked: int, given: int) -> None:
    assert len((await page(service, filter=many, page_size=asked)).users) == given


async def test_a_negative_size_is_refused(service: Service) -> None:
    refusal = await refused(service.admin.ListUsers(listing(page_size=-1)), "FIELD_INVALID")
    assert refusal.fields == ("page_size",)


@pytest.mark.parametrize("size", [400, 550, 1000])
async def test_pages_hold_everyone_once_and_the_last_has_no_token(service: Service, many: str, size: int) -> None:
    found = await pages(service, filter=many, page_size=size)
    assert [len(each) for each in found] == [size] * (MANY // size) + ([MANY % size] if MANY % size else [])
    ids = [user.id for each in found for user in each]
    assert ids == sorted(ids)
    assert len(set(ids)) == MANY == await count(service, many)


async def test_a_list_of_nobody_is_one_empty_page(service: Service) -> None:
    assert await page(service, filter=f"private_metadata.mark = {mark()}") == pb.ListUsersResponse()


# Fields


async def test_a_read_mask_chooses_the_fields(service: Service) -> None:
    word = mark()
    made = await service.user(username=word, first_name="Ada", public_metadata={"a": 1}, private_metadata={"b": 2})
    request = listing(filter=f"username = {word}")
    request.read_mask.paths.extend(["id", "public_metadata"])
    assert list((await service.admin.ListUsers(request)).users) == [User(id=made.id, public_metadata=struct({"a": 1}))]


async def test_users_whose_chosen_fields_are_unset_are_still_listed(service: Service, many: str) -> None:
    request = listing(filter=many, page_size=10)
    request.read_mask.paths.append("username")
    assert list((await service.admin.ListUsers(request)).users) == [User()] * 10


@pytest.mark.parametrize("path", ["nothing", "public_metadata.plan", ""])
async def test_a_mask_that_names_no_field_is_refused(service: Service, path: str) -> None:
    request = listing()
    request.read_mask.paths.append(path)
    assert (await refused(service.admin.ListUsers(request), "FIELD_INVALID")).fields == ("read_mask",)


# Size


async def test_a_reply_ends_early_rather_than_pass_3_mib_and_the_next_page_goes_on(service: Service) -> None:
    word = mark()
    text = "x" * 8000
    large = USER._replace(public_metadata=f'{{"a":"{text}"}}', unsafe_metadata=f'{{"a":"{text}"}}')
    users = [large._replace(id=new_id("user", 1), private_metadata=f'{{"mark":"{word}"}}') for _ in range(300)]
    await put(service.server.app.store, users)
    request = listing(filter=f"private_metadata.mark = {word}", page_size=1000)
    first = await service.admin.ListUsers(request)
    assert MAX_REPLY - 50_000 < first.ByteSize() < MAX_REPLY + 1000
    assert 0 < len(first.users) < len(users)
    found = await pages(service, filter=request.filter, page_size=1000)
    assert [user.id for each in found for user in each] == sorted(each.id for each in users)
    assert all(document(user.unsafe_metadata) == {"a": text} for each in found for user in each)


# Tokens

LIST: Final[Mapping[str, Any]] = {"order_by": "create_time desc", "page_size": 3}


async def token_of(service: Service, text: str, **changes: Any) -> str:  # noqa: ANN401  # any field of the request
    """Return the token of a list's second page."""
    token = (await page(service, filter=text, **{**LIST, **changes})).next_page_token
    assert token
    return token


async def test_a_token_is_good_whatever_the_white_space_the_size_and_the_mask(service: Service, many: str) -> None:
    token = await token_of(service, many)
    expected = (await everyone(service, filter=many, **{**LIST, "page_size": 1000}))[3:8]
    request = listing(filter=f"  {many} ", order_by="create_time   desc", page_size=5, page_token=token)
    assert list((await service.admin.ListUsers(request)).users) == expected
    request.read_mask.paths.append("id")
    assert [each.id for each in (await service.admin.ListUsers(request)).users] == [each.id for each in expected]


@pytest.mark.parametrize(
    "changes",
    [
        {"filter": ""},
        {"filter": "banned = true"},
        {"order_by": ""},
        {"order_by": "create_time"},
        {"order_by": "create_time desc, id"},
    ],
)
async def test_a_token_of_another_filter_or_order_is_refused(
    service: Service, many: str, changes: dict[str, str]
) -> None:
    request = listing(**{"filter": many, **LIST, "page_token": await token_of(service, many), **changes})
    refusal = await refused(service.admin.ListUsers(request), "PAGE_TOKEN_INVALID")
    assert refusal.fields == ("page_token",)


async def test_a_damaged_token_is_refused(service: Service, many: str) -> None:
    token = await token_of(service, many)
    damaged = [f"{token[:place]}{'A' if token[place] != 'A' else 'B'}{token[place + 1 :]}" for place in (0, 20, 30)]
    for each in [*damaged, token[:-4], f"{token}AAAA", token[:10], "x", "é", "=", token.swapcase()]:
        await refused(service.admin.ListUsers(listing(filter=many, **LIST, page_token=each)), "PAGE_TOKEN_INVALID")


async def test_a_token_of_another_method_is_refused(service: Service) -> None:
    await service.key()
    await service.key()
    keys = await service.admin.ListSecretKeys(pb.ListSecretKeysRequest(page_size=1))
    assert keys.next_page_token
    await refused(service.admin.ListUsers(listing(page_token=keys.next_page_token)), "PAGE_TOKEN_INVALID")
    users = await page(service, page_size=1)
    request = pb.ListSecretKeysRequest(page_size=1, page_token=users.next_page_token)
    await refused(service.admin.ListSecretKeys(request), "PAGE_TOKEN_INVALID")


async def test_a_token_of_another_store_is_refused(service: Service, tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as other:
        for _ in range(2):
            await other.user()
        token = (await page(other, page_size=1)).next_page_token
    assert token
    await refused(service.admin.ListUsers(listing(page_size=1, page_token=token)), "PAGE_TOKEN_INVALID")


async def test_a_token_is_text_that_is_safe_in_a_url(service: Service, many: str) -> None:
    token = await token_of(service, many)
    assert token.replace("-", "").replace("_", "").isalnum()


async def test_listing_needs_read_and_indexes_need_admin(service: Service) -> None:
    reader = service.backend(await service.key(Scope.READ))
    await reader.ListUsers(listing(page_size=1))
    await reader.CountUsers(pb.CountUsersRequest())
    writer = service.backend(await service.key(Scope.WRITE))
    for call in (
        writer.ListMetadataIndexes(pb.ListMetadataIndexesRequest()),
        writer.CreateMetadataIndex(pb.CreateMetadataIndexRequest(path="public_metadata.a")),
        writer.DeleteMetadataIndex(pb.DeleteMetadataIndexRequest(path="public_metadata.a")),
    ):
        assert (await refused(call, "SCOPE_INSUFFICIENT")).metadata == {"required_scope": "admin"}
