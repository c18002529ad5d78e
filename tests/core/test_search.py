"""Search: pages, what their tokens are bound to, counts, indexes, and the index that a search asks for."""

from collections.abc import Sequence
from typing import NoReturn, cast

import pytest

from tests.core.support import INTENT, Core, asked, refusal
from tests.support import BACKEND_CALLER
from usermeta_server.core.query import parse_filter, parse_index_path
from usermeta_server.core.search import Search, path_text
from usermeta_server.core.tokens import Tokens
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import IndexState, MetadataIndex, User
from usermeta_server.store.contract import Reader, ScanLimitError


class Slow:
    """A store for which every search takes too long."""

    def __init__(self, indexes: Sequence[MetadataIndex] = ()) -> None:
        """Have these indexes."""
        self._indexes = indexes

    def metadata_indexes(self) -> Sequence[MetadataIndex]:
        """See `Reader`."""
        return self._indexes

    async def find_users(self, _: object) -> NoReturn:
        """Take too long."""
        raise ScanLimitError

    async def count_users(self, _: object) -> NoReturn:
        """Take too long."""
        raise ScanLimitError


def slow_search(core: Core, *ready: str) -> Search:
    """Return searches that take too long, though there are indexes on these paths."""
    keys = [(str(path.document), *path.keys) for path in map(parse_index_path, ready)]
    store = Slow([MetadataIndex(key, 1, IndexState.READY, "") for key in keys])
    return Search(cast("Reader", store), core.racing(core.store.newest), core.app.use_cases.page_tokens)


async def listed(core: Core, sought: str = "", order_by: str = "", size: int = 100) -> list[list[User]]:
    """Return a list's pages."""
    pages: list[list[User]] = []
    token = ""
    while not pages or token:
        listing = core.search.listing(sought, order_by, token)
        page = list(await core.search.list(BACKEND_CALLER, listing, size))
        pages.append(page)
        token = core.search.token_after(listing, page[-1]) if len(page) == size else ""
    return pages


async def found(core: Core, sought: str, order_by: str = "") -> list[str]:
    """Return the first names of those whom a filter matches."""
    return [user.first_name for page in await listed(core, sought, order_by) for user in page]


@pytest.fixture
async def crowd(core: Core) -> Core:
    """Return the use cases on a store with five users, some of whom are equal in some way."""
    for name, plan, seats in (("e", "pro", 1), ("b", "pro", 3), ("d", "free", 2), ("a", "free", 3), ("c", "", 0)):
        document: dict[str, str | int | float | bool] = {"plan": plan, "seats": seats} if plan else {}
        await core.user(f"user_{name}", first_name=name, last_name=plan, public_metadata={**document})
    return core


@pytest.mark.parametrize(
    ("order_by", "names"),
    [
        ("", "abcde"),
        ("id desc", "edcba"),
        ("last_name", "cadbe"),
        ("last_name desc, first_name desc", "ebdac"),
        ("public_metadata.seats", "cedab"),
        ("public_metadata.seats desc", "abdec"),
        ("public_metadata.plan desc, public_metadata.seats", "ebdac"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5])
async def test_pages_together_are_the_whole_list_in_its_order(
    crowd: Core, order_by: str, names: str, size: int
) -> None:
    pages = await listed(crowd, "", order_by, size)
    assert "".join(user.first_name for page in pages for user in page) == names
    assert all(len(page) <= size for page in pages)


@pytest.mark.parametrize(
    ("sought", "names"),
    [
        ("", "abcde"),
        ('first_name = "b"', "b"),
        ('public_metadata.plan = "pro" AND public_metadata.seats > 1', "b"),
        ("public_metadata.seats >= 2", "abd"),
        ("NOT public_metadata.plan:*", "c"),
        ('public_metadata.plan = "free" OR first_name = "e"', "ade"),
        ('first_name = "none"', ""),
    ],
)
async def test_a_list_has_those_whom_its_filter_matches_and_the_count_is_theirs(
    crowd: Core, sought: str, names: str
) -> None:
    assert "".join(await found(crowd, sought)) == names
    assert await crowd.search.count(BACKEND_CALLER, parse_filter(sought)) == len(names)


async def test_a_list_goes_on_behind_a_user_who_is_gone_or_has_moved(crowd: Core) -> None:
    listing = crowd.search.listing("", "last_name", "")
    first = await crowd.search.list(BACKEND_CALLER, listing, 2)
    token = crowd.search.token_after(listing, first[-1])
    await crowd.users.delete(first[-1].id, "", INTENT)
    await crowd.update(first[0].id, last_name="zzz")
    rest = await crowd.search.list(BACKEND_CALLER, crowd.search.listing("", "last_name", token), 100)
    assert [user.first_name for user in rest] == ["d", "b", "e", "c"]


@pytest.mark.parametrize(
    ("sought", "order_by"),
    [("", "last_name"), ("last_name:*", ""), ('first_name = "b"', "last_name"), ('first_name = "a"', "last_name desc")],
)
async def test_a_page_token_is_of_one_filter_and_one_order(crowd: Core, sought: str, order_by: str) -> None:
    listing = crowd.search.listing('first_name = "a"', "last_name", "")
    token = crowd.search.token_after(listing, await crowd.users.get(BACKEND_CALLER, "user_a"))
    assert crowd.search.listing('first_name="a"', " last_name ", token).after
    with pytest.raises(UsermetaError) as caught:
        crowd.search.listing(sought, order_by, token)
    assert caught.value.reason is Reason.PAGE_TOKEN_INVALID


async def test_a_page_token_that_was_changed_or_is_of_another_store_is_refused(crowd: Core) -> None:
    listing = crowd.search.listing("", "", "")
    token = crowd.search.token_after(listing, await crowd.users.get(BACKEND_CALLER, "user_a"))
    foreign = Tokens(b"another key", "page_token", Reason.PAGE_TOKEN_INVALID)
    for bad in (f"{token}A", token[:-4], token[:4], "!", foreign.make(listing.bound_to, [[], "user_a"])):
        with pytest.raises(UsermetaError) as caught:
            crowd.search.listing("", "", bad)
        assert caught.value.reason is Reason.PAGE_TOKEN_INVALID
        assert [each.field for each in caught.value.violations] == ["page_token"]


async def test_a_bad_filter_and_a_bad_order_are_named_together_before_the_token(core: Core) -> None:
    with pytest.raises(UsermetaError) as caught:
        core.search.listing("first_name =", "none", "bad")
    assert [(each.field, each.reason) for each in caught.value.violations] == [
        ("filter", Reason.FILTER_INVALID),
        ("order_by", Reason.ORDER_INVALID),
    ]


# Indexes


@pytest.mark.parametrize(
    ("sought", "order_by", "path"),
    [
        ("public_metadata.plan = 1", "", "public_metadata.plan"),
        ('private_metadata."a b":1', "", 'private_metadata."a b"'),
        ("first_name = a AND public_metadata.plan = 1", "", "public_metadata.plan"),
        ("public_metadata.ready = 1 AND unsafe_metadata.a.b > 1", "", "unsafe_metadata.a.b"),
        ("", "last_name, public_metadata.seats desc", "public_metadata.seats"),
        ("public_metadata.ready = 1", "public_metadata.ready", ""),
        ("public_metadata.a = 1 OR public_metadata.b = 1", "", ""),
        ("NOT public_metadata.a = 1", "", ""),
        ("first_name = a", "", ""),
    ],
)
async def test_a_search_that_takes_too_long_names_the_index_that_would_help_if_one_would(
    core: Core, sought: str, order_by: str, path: str
) -> None:
    search = slow_search(core, "public_metadata.ready")
    error = await refusal(search.list(BACKEND_CALLER, search.listing(sought, order_by, ""), 10), Reason.INDEX_REQUIRED)
    assert error.metadata == ({"path": path} if path else {})
    assert ("narrow the filter" in error.message) is not bool(path)


async def test_a_count_that_takes_too_long_names_the_index_that_would_help(core: Core) -> None:
    call = slow_search(core).count(BACKEND_CALLER, parse_filter("public_metadata.plan = 1"))
    assert (await refusal(call, Reason.INDEX_REQUIRED)).metadata == {"path": "public_metadata.plan"}


async def test_an_index_is_built_of_those_who_are_there_and_then_is_ready(crowd: Core) -> None:
    path = parse_index_path("public_metadata.plan")
    made = await crowd.search.create_index(path, INTENT)
    assert (made.state, path_text(made)) == (IndexState.BUILDING, "public_metadata.plan")
    while await crowd.store.build_indexes():
        pass
    (ready,) = crowd.search.list_indexes()
    assert (ready.state, ready.id) == (IndexState.READY, made.id)
    assert await crowd.search.create_index(path, INTENT) == ready
    assert await found(crowd, 'public_metadata.plan = "pro"') == ["b", "e"]


async def test_indexes_are_listed_by_their_paths_and_dropped(core: Core) -> None:
    paths = ["unsafe_metadata.a", "private_metadata.b", "private_metadata.a.b"]
    for path in map(parse_index_path, paths):
        await core.search.create_index(path, INTENT)
    assert [path_text(each) for each in core.search.list_indexes()] == sorted(paths)
    await core.search.delete_index(parse_index_path(paths[1]), INTENT)
    assert [path_text(each) for each in core.search.list_indexes()] == [paths[2], paths[0]]
    call = core.search.delete_index(parse_index_path(paths[1]), INTENT)
    await refusal(call, Reason.METADATA_INDEX_NOT_FOUND)


async def test_an_index_that_was_dropped_since_is_not_recalled(core: Core) -> None:
    path = parse_index_path("public_metadata.a")
    await core.search.create_index(path, asked("1"))
    await core.search.delete_index(path, asked("2"))
    await core.search.delete_index(path, asked("2"))
    await refusal(core.search.create_index(path, asked("1")), Reason.METADATA_INDEX_NOT_FOUND)
