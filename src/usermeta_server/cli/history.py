"""`usermeta history`: what was written to a user, as differences."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from usermeta.backend.v1.backend_service_pb2 import ListUserChangesRequest
from usermeta.backend.v1.user_change_pb2 import UserChange
from usermeta_server.cli.connection import backend, connection_options
from usermeta_server.cli.follow import as_json

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs

_NONE: Final = object()
"""Stands for what is not there."""
_MADE: Final = frozenset({UserChange.KIND_CREATED, UserChange.KIND_SIGN_UP_COMPLETED})


@click.command()
@click.argument("user_id")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many changes at the most.")
@connection_options
def history(user_id: str, limit: int, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Print what was written to the user USER_ID: newest first, what was and what is."""

    async def run() -> None:
        async with backend(flags) as stub:
            async for change in _changes(stub, user_id, limit):
                click.echo("\n".join((_title(change), *_body(change), "")))

    asyncio.run(run())


async def _changes(stub: "BackendServiceAsyncStub", user_id: str, limit: int) -> AsyncIterator[UserChange]:
    token = ""
    while limit > 0:
        request = ListUserChangesRequest(user_id=user_id, page_size=limit, page_token=token)
        page = await stub.ListUserChanges(request)
        for change in page.changes:
            yield change
        limit -= len(page.changes)
        token = page.next_page_token
        if not token:
            return


def _title(change: UserChange) -> str:
    kind = UserChange.Kind.Name(change.kind).removeprefix("KIND_").replace("_", " ").lower()
    parts = (
        click.style(f"{change.change_id}", fg="yellow"),
        change.time.ToJsonString(),
        click.style(kind, bold=True),
        f"by {_plain(change.actor.audience)} {_plain(change.actor.principal)}",
        *([f"request {_plain(change.request_id)}"] if change.request_id else []),
    )
    return "  ".join(parts)


def _body(change: UserChange) -> Iterator[str]:
    if change.erased:
        yield "    (erased)"
        return
    if not change.HasField("before") and change.kind not in _MADE and change.kind != UserChange.KIND_DELETED:
        yield "    (what was before it is no longer kept)"
    before, after = as_json(change.before), as_json(change.after)
    for name in sorted(change.changed_fields):
        for path, old, new in _differences(_plain(name), before.get(name, _NONE), after.get(name, _NONE)):
            yield f"    {path}: {click.style(_shown(old), fg='red')} -> {click.style(_shown(new), fg='green')}"


def _differences(path: str, old: object, new: object) -> Iterator[tuple[str, object, object]]:
    """Yield what differs: its path, and both values; objects are compared member by member, all else whole."""
    was, now = (value if isinstance(value, Mapping) else {} if value is _NONE else None for value in (old, new))
    if was is None or now is None or not (was or now):
        if _shown(old) != _shown(new):
            yield path, old, new
        return
    for key in sorted({*was, *now}):
        yield from _differences(f"{path}.{_segment(key)}", was.get(key, _NONE), now.get(key, _NONE))


def _segment(key: str) -> str:
    """Return a key as filters write it: in quotes unless it is a plain name."""
    return key if key.isascii() and key.isidentifier() else _shown(key)


def _shown(value: object) -> str:
    return "(none)" if value is _NONE else _plain(json.dumps(value, ensure_ascii=False))


def _plain(text: str) -> str:
    """Return text in which nothing can command a terminal or turn the direction of writing."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
