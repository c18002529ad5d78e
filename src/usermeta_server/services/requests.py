"""What handlers read from requests, checked: each function names the fields that it refuses."""

import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from google.protobuf.message import Message

from usermeta_server.caller import Caller, PrincipalKind
from usermeta_server.core.profile import check_user_id, identifier
from usermeta_server.core.query import parse_filter
from usermeta_server.core.tokens import Tokens
from usermeta_server.core.user_refs import UserRef
from usermeta_server.core.watch import WatchFilter
from usermeta_server.core.writes import Intent
from usermeta_server.errors import all_of, invalid, together
from usermeta_server.model import SECOND, IdentifierKind
from usermeta_server.services.reading import read, reading
from usermeta_server.values import Json

K = TypeVar("K")
T = TypeVar("T")
M = TypeVar("M", bound=Message)

MAX_BATCH: Final = 100
"""How many users one request may name."""
_MAX_ID: Final = 128
DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 1000

_NO_PART_OF_IT: Final = ("request_id", "validate_only", "read_mask")
"""What a request id does not stand for: with others, or without, it is the same request."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


@reading
def intent_of(request: Any, caller: Caller) -> Intent:  # noqa: ANN401  # any of the many mutating requests
    """Return what makes this request repeatable and triable.

    Raises:
        UsermetaError: FIELD_INVALID, for a request id that is no UUID, or of a caller without a credential.
    """
    actor = caller.actor
    if not request.request_id:
        return Intent(actor, caller.method, validate_only=request.validate_only)
    if caller.principal.kind is PrincipalKind.ANONYMOUS:
        raise invalid("request_id", "is for callers with a credential")
    if not _UUID.fullmatch(request.request_id):
        raise invalid("request_id", "must be a UUID, such as 5f0c4f0e-8d2b-4f5c-9a55-0d8f1c1f2a3b")
    canonical = type(request)()
    canonical.CopyFrom(request)
    for name in _NO_PART_OF_IT:
        if name in canonical.DESCRIPTOR.fields_by_name:
            canonical.ClearField(name)
    return Intent(
        actor,
        caller.method,
        str(uuid.UUID(request.request_id)),
        canonical.SerializeToString(deterministic=True),
        request.validate_only,
    )


def _required(value: T, field: str) -> T:
    if not value:
        raise invalid(field, "is required")
    return value


@reading
def required(value: str, field: str) -> str:
    """Return a text that must be there.

    Raises:
        UsermetaError: FIELD_INVALID, when it is empty.
    """
    return _required(value, field)


@reading
def user_ref_of(request: Any) -> UserRef:  # noqa: ANN401  # any request that names a user
    """Return whom a request is about, by what is set of its oneof `identifier`.

    Raises:
        UsermetaError: FIELD_INVALID, when nothing is, or it is empty.
    """
    user_id: str = request.user_id
    if user_id:
        return user_id
    kind = request.WhichOneof("identifier")
    if kind is None:
        kinds = [field.name for field in request.DESCRIPTOR.oneofs_by_name["identifier"].fields]
        raise invalid("user_id", f"one of {', '.join(kinds)} is required")
    value = _required(getattr(request, kind), kind)
    return identifier(IdentifierKind(kind), value)


@reading
def change_id_of(change_id: int) -> int:
    """Return the id of a change.

    Raises:
        UsermetaError: FIELD_INVALID, for none.
    """
    return _required(max(change_id, 0), "change_id")


@reading
def new_user_id_of(user_id: str) -> str:
    """Return the id that a new user is to have, empty for one of our making.

    Raises:
        UsermetaError: FIELD_INVALID, for one that no user can have.
    """
    if user_id:
        check_user_id(user_id)
    return user_id


def _batch(items: Sequence[T], field: str, check: Callable[[int, T], object]) -> Sequence[T]:
    """Return the items of a batch, 1 to 100, of which each passes a check."""
    if not 0 < len(items) <= MAX_BATCH:
        raise invalid(field, f"holds {len(items)}; 1 to {MAX_BATCH} are allowed")
    all_of([partial(check, index, item) for index, item in enumerate(items)])
    return items


@reading
def ids_of(user_ids: Sequence[str], field: str) -> Sequence[str]:
    """Return the ids of a batch.

    Raises:
        UsermetaError: FIELD_INVALID, for none, more than 100, or those that no user can have.
    """

    def check(index: int, user_id: str) -> None:
        if len(user_id.encode()) > _MAX_ID:
            raise invalid(f"{field}[{index}]", f"has more than {_MAX_ID} bytes")

    return _batch(user_ids, field, check)


@reading
def items_of(requests: Sequence[M]) -> Sequence[M]:
    """Return the items of a batch of writes, which leave to the batch what is the batch's.

    Raises:
        UsermetaError: FIELD_INVALID, for none, more than 100, or a `request_id`, `validate_only` or `read_mask` on an
            item.
    """

    def check(index: int, item: Any) -> None:  # noqa: ANN401  # any of the many mutating requests
        names = [field.name for field, _ in item.ListFields() if field.name in _NO_PART_OF_IT]
        if names:
            text = "is for the batch as a whole"
            raise together([invalid(f"requests[{index}].{name}", text) for name in names])

    return _batch(requests, "requests", check)


@reading
def page_size_of(page_size: int) -> int:
    """Return how many a page holds (AIP-158): too many is as many as may be.

    Raises:
        UsermetaError: FIELD_INVALID, for a negative one.
    """
    if page_size < 0:
        raise invalid("page_size", "must not be negative")
    return min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


class Page(NamedTuple):
    """A page that is asked for: how many it holds, and the place after which it begins (None: the beginning)."""

    size: int
    after: Json


@reading
def page_of(request: Any, tokens: Tokens, of_list: str) -> Page:  # noqa: ANN401  # any of the requests for a list
    """Return the page of a list that a request asks for.

    Raises:
        UsermetaError: FIELD_INVALID, for a negative size; PAGE_TOKEN_INVALID, for a token that is not of this list.
    """
    return Page(*read(page_size_of(request.page_size), _place_of(request.page_token, tokens, of_list)))


@reading
def _place_of(token: str, tokens: Tokens, of_list: str) -> Json:
    return tokens.read(of_list, token) if token else None


@reading
def resume_token_of(resume_token: str, *, snapshot: bool) -> str:
    """Return where a watch goes on.

    Raises:
        UsermetaError: FIELD_INVALID, for a token together with a snapshot.
    """
    if resume_token and snapshot:
        raise invalid("include_snapshot", "goes without a resume_token: a snapshot goes on with its own")
    return resume_token


filter_of = reading(parse_filter)
"""Gives what a filter means; refused is FILTER_INVALID."""

watch_filter_of = reading(WatchFilter.of)
"""Gives which users a watch is about; refused is FILTER_INVALID."""


@reading
def time_of(message: Message, field: str) -> int:
    """Return the time in a field, in microseconds since the epoch; 0 when there is none.

    Raises:
        UsermetaError: FIELD_INVALID, for a time that is none, or not after the epoch.
    """
    if not message.HasField(field):
        return 0
    seconds, nanos = getattr(message, field).seconds, getattr(message, field).nanos
    if not 0 < seconds < _YEAR_10000 or not 0 <= nanos < SECOND * 1000:
        raise invalid(field, "must be a time between 1970 and 9999")
    return int(seconds * SECOND + nanos // 1000)


_YEAR_10000: Final = 253_402_300_800


def enum_values(values: Iterable[K], known: Mapping[K, T], field: str, text: str) -> tuple[T, ...]:
    """Return what the values of a repeated enum field stand for.

    Raises:
        UsermetaError: FIELD_INVALID, with `text` for each unknown one.
    """
    values = tuple(values)
    unknown = [invalid(f"{field}[{index}]", text) for index, value in enumerate(values) if value not in known]
    if unknown:
        raise together(unknown)
    return tuple(known[value] for value in values)
