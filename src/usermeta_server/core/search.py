"""The use cases that find users, and those about the indexes that help to."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from usermeta_server.caller import Caller
from usermeta_server.core.query import (
    Filter,
    OrderBy,
    format_path,
    from_cursor,
    parse_filter,
    parse_order,
    to_cursor,
)
from usermeta_server.core.tokens import Tokens
from usermeta_server.core.writes import Intent, Writes
from usermeta_server.errors import Reason, UsermetaError, all_of, invalid
from usermeta_server.ids import Stamp
from usermeta_server.model import Document, IndexState, MetadataIndex, User
from usermeta_server.store.contract import Draft, Reader, Reads, ScanLimitError
from usermeta_server.store.evaluation import place_of
from usermeta_server.store.predicates import (
    Comparison,
    Conjunction,
    Contains,
    DocumentPath,
    Place,
    Predicate,
    UserQuery,
)
from usermeta_server.turns import Turns

_AT_ONCE: Final = 2
"""How many searches a store does at once: as many as it has connections for them."""
_MAX_WAITING: Final = 1024
"""How many searches may wait."""
_MAX_WAITING_EACH: Final = 256
"""How many of them may be one principal's."""


class Listing(NamedTuple):
    """A list of users, from a place on: which users, in which order, and what its tokens are bound to."""

    sought: Filter
    order: OrderBy
    after: Place | None
    bound_to: str


class Search:
    """The use cases that find users."""

    def __init__(self, store: Reader, writes: Writes, tokens: Tokens) -> None:
        """Make them with the maker of page tokens."""
        self._turns = Turns(_AT_ONCE, _MAX_WAITING, _MAX_WAITING_EACH)
        self._store = store
        self._writes = writes
        self._tokens = tokens

    def listing(self, filter_text: str, order_by: str, page_token: str) -> Listing:
        """Read a filter, an order and a page token as a client writes them.

        Raises:
            UsermetaError: FILTER_INVALID, ORDER_INVALID; without either PAGE_TOKEN_INVALID, for it is bound to both.
        """
        readers: list[Callable[[], object]] = [partial(parse_filter, filter_text), partial(parse_order, order_by)]
        all_of(readers)
        sought, order = parse_filter(filter_text), parse_order(order_by)
        bound_to = f"ListUsers {sought.canonical}\n{order.canonical}"
        return Listing(sought, order, self._place(bound_to, page_token), bound_to)

    async def list(self, caller: Caller, listing: Listing, limit: int) -> Sequence[User]:
        """Return up to `limit` users of a list.

        Raises:
            UsermetaError: INDEX_REQUIRED; OVERLOADED, when too many searches wait.
        """
        query = UserQuery(listing.sought.predicate, listing.order.order, listing.after, limit)
        try:
            async with self._turns.taken(str(caller.principal)):
                return await self._store.find_users(query)
        except ScanLimitError as error:
            raise self._index_required(listing.sought, listing.order) from error

    def token_after(self, listing: Listing, user: User) -> str:
        """Return the token of the page of a list that begins after a user."""
        return self._tokens.make(listing.bound_to, to_cursor(place_of(listing.order.order)(user)))

    async def count(self, caller: Caller, sought: Filter) -> int:
        """Return how many users a filter matches; raises as `list` does."""
        try:
            async with self._turns.taken(str(caller.principal)):
                return await self._store.count_users(sought.predicate)
        except ScanLimitError as error:
            raise self._index_required(sought, parse_order("")) from error

    def _place(self, bound_to: str, token: str) -> Place | None:
        if not token:
            return None
        try:
            return from_cursor(self._tokens.read(bound_to, token))
        except ValueError as error:
            raise invalid("page_token", "is of another version", reason=Reason.PAGE_TOKEN_INVALID) from error

    def _index_required(self, sought: Filter, order: OrderBy) -> UsermetaError:
        ready = {index.path for index in self._store.metadata_indexes() if index.state is IndexState.READY}
        wanted = [*_paths(sought.predicate), *(key.target for key in order.order.keys)]
        for target in wanted:
            if isinstance(target, DocumentPath) and target.keys and (target.document, *target.keys) not in ready:
                path = format_path(target)
                text = f"Finding these users without an index takes too long: an index on {path} helps."
                return UsermetaError(Reason.INDEX_REQUIRED, text, {"path": path})
        return UsermetaError(Reason.INDEX_REQUIRED, "Finding these users takes too long: narrow the filter.")

    async def create_index(self, indexed: DocumentPath, intent: Intent) -> MetadataIndex:
        """Begin to build an index; one that exists stays as it is."""
        path = _key(indexed)

        def change(draft: Draft, _: Stamp) -> MetadataIndex:
            kept = draft.metadata_indexes.get(path)
            if kept is None:
                kept = MetadataIndex(path, draft.next_version(), IndexState.BUILDING, "")
                draft.metadata_indexes.put(path, kept)
            return kept

        async def recall(_: str) -> MetadataIndex:
            return self._index(path)

        reads = Reads(metadata_indexes=(path,))
        return await self._writes.perform(intent, reads, change, name=lambda index: str(index.id), recall=recall)

    async def delete_index(self, indexed: DocumentPath, intent: Intent) -> None:
        """Drop an index.

        Raises:
            UsermetaError: METADATA_INDEX_NOT_FOUND.
        """
        path = _key(indexed)

        def change(draft: Draft, _: Stamp) -> None:
            if draft.metadata_indexes.get(path) is None:
                raise UsermetaError(Reason.METADATA_INDEX_NOT_FOUND)
            draft.metadata_indexes.put(path, None)

        async def recall(_: str) -> None:
            return None

        reads = Reads(metadata_indexes=(path,))
        await self._writes.perform(intent, reads, change, name=lambda _: "", recall=recall)

    def list_indexes(self) -> Sequence[MetadataIndex]:
        """Return the indexes, by their paths."""
        return self._store.metadata_indexes()

    def _index(self, path: tuple[str, ...]) -> MetadataIndex:
        for index in self._store.metadata_indexes():
            if index.path == path:
                return index
        raise UsermetaError(Reason.METADATA_INDEX_NOT_FOUND)


def path_text(index: MetadataIndex) -> str:
    """Return the path of an index as it would stand in a filter."""
    return format_path(DocumentPath(Document(index.path[0]), index.path[1:]))


def _key(path: DocumentPath) -> tuple[str, ...]:
    return (str(path.document), *path.keys)


def _paths(predicate: Predicate) -> Iterator[DocumentPath]:
    """Yield the paths by which an index would narrow a predicate down."""
    conjuncts = predicate.operands if isinstance(predicate, Conjunction) else (predicate,)
    for each in conjuncts:
        match each:
            case Comparison(target) if isinstance(target, DocumentPath):
                yield target
            case Contains(path):
                yield path
            case _:
                pass
