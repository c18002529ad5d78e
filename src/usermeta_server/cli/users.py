"""`usermeta users`: find, show and change users."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import orjson
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta_server.cli.conflicts import list_conflicts
from usermeta_server.cli.connection import backend, connection_options
from usermeta_server.cli.exporting import export_users
from usermeta_server.cli.importing import import_users
from usermeta_server.cli.records import find, to_line, to_record
from usermeta_server.cli.strict_json import read_json
from usermeta_server.cli.tables import Table
from usermeta_server.services.structs import fill_struct

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs

F = TypeVar("F", bound=Callable[..., Any])

_COLUMNS: Final[Mapping[str, Callable[[User], str]]] = {
    "ID": lambda user: user.id,
    "USERNAME": lambda user: user.username,
    "EMAIL": lambda user: user.email_address,
    "NAME": lambda user: f"{user.first_name} {user.last_name}".strip(),
    "BANNED": lambda user: "yes" if user.banned else "",
    "CREATED": lambda user: user.create_time.ToDatetime().strftime("%Y-%m-%dT%H:%M:%SZ"),
}
_COLUMN_FIELDS: Final = ("id", "username", "email_address", "first_name", "last_name", "banned", "create_time")


@click.group()
def users() -> None:
    """Find, show and change users; export and import them."""


users.add_command(export_users)
users.add_command(import_users)
users.add_command(list_conflicts)


# Finding


@users.command("list")
@click.option("--filter", "filter_text", default="", metavar="FILTER", help="Which, as in public_metadata.plan = pro.")
@click.option("--order", default="", metavar="ORDER", help="In which order, as in 'create_time desc'; by id otherwise.")
@click.option("--limit", type=click.IntRange(min=1), help="How many at the most; all otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print whole users, a line of JSON each, instead of a table.")
@connection_options
def list_users(
    *,
    filter_text: str,
    order: str,
    limit: int | None,
    as_json: bool,
    **flags: Any,  # noqa: ANN401  # as click gives them
) -> None:
    """Print the users that a filter matches."""
    request = pb.ListUsersRequest(filter=filter_text, order_by=order)
    if not as_json:
        request.read_mask.paths.extend(_COLUMN_FIELDS)
    table = Table(list(_COLUMNS))

    async def run() -> None:
        async with backend(flags) as stub:
            async for page in find(stub, request, limit):
                if as_json:
                    click.echo(b"".join(map(to_line, page)), nl=False)
                    continue
                for line in table.lines([cell(user) for cell in _COLUMNS.values()] for user in page):
                    click.echo(line)

    asyncio.run(run())


@users.command("get")
@click.argument("user_id", required=False)
@click.option("--external-id", help="Find the user by the id that your identity provider knows them by.")
@click.option("--username", help="Find the user by username.")
@click.option("--email-address", "--email", help="Find the user by email address.")
@connection_options
def get_user(
    user_id: str | None,
    external_id: str | None,
    username: str | None,
    email_address: str | None,
    **flags: Any,  # noqa: ANN401  # as click gives them
) -> None:
    """Print the user USER_ID (user_…), or the one that has another identifier, as JSON."""
    named = {"user_id": user_id, "external_id": external_id, "username": username, "email_address": email_address}
    chosen: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if len(chosen) != 1:
        raise click.UsageError("say which user: USER_ID, --external-id, --username or --email-address")

    async def run() -> User:
        async with backend(flags) as stub:
            return (await stub.GetUser(pb.GetUserRequest(**chosen))).user

    _print(asyncio.run(run()))


def _print(user: User) -> None:
    click.echo(orjson.dumps(to_record(user), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


# Changing


def _object(_: click.Context, __: click.Parameter, text: str | None) -> Struct | None:
    """Return a JSON object of the command line as a Struct."""
    if text is None:
        return None
    try:
        value = read_json(text.encode("utf-8", "surrogateescape"))
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}") from error
    if not isinstance(value, dict):
        raise click.BadParameter(f"{text!r} is not a JSON object")
    struct = Struct()
    fill_struct(struct, value)
    return struct


_TEXTS: Final = ("external_id", "username", "email_address", "first_name", "last_name", "image_url")
_FLAGS: Final = ("email_address_verified", "banned")


def _profile_options(function: F) -> F:
    """Add an option for each field of the profile."""
    for name in reversed(_FLAGS):
        flag = name.replace("_", "-")
        function = click.option(f"--{flag}/--not-{flag}", name, default=None)(function)
    for name in reversed(_TEXTS):
        function = click.option(f"--{name.replace('_', '-')}", name, metavar="TEXT")(function)
    return function


@users.command("set")
@click.argument("user_id")
@click.option(
    "--public", "public_metadata", callback=_object, metavar="JSON", help="What to merge into public_metadata."
)
@click.option(
    "--private", "private_metadata", callback=_object, metavar="JSON", help="What to merge into private_metadata."
)
@click.option(
    "--unsafe", "unsafe_metadata", callback=_object, metavar="JSON", help="What to merge into unsafe_metadata."
)
@click.option("--replace", is_flag=True, help="Replace each of these documents whole instead of merging into it.")
@_profile_options
@connection_options
def set_user(user_id: str, *, replace: bool, **values: Any) -> None:  # noqa: ANN401  # as click gives them
    """Change the user USER_ID, and print them as JSON.

    Documents are merged (RFC 7396: null removes a key) unless told otherwise. An empty TEXT unsets its field. The
    profile and the documents are two writes, the profile's first.
    """
    documents = {name: value for name, value in values.items() if isinstance(value, Struct)}
    profile = {name: values[name] for name in (*_TEXTS, *_FLAGS) if values[name] is not None}
    if not documents and not profile:
        raise click.UsageError("nothing to set: name a document or a field")

    async def run() -> User:
        user = User()
        async with backend(values) as stub:
            if profile:
                mask = FieldMask(paths=list(profile))
                request = pb.UpdateUserRequest(user=User(id=user_id, **profile), update_mask=mask)
                user = (await stub.UpdateUser(request)).user
            if documents:
                user = await _write(stub, user_id, documents, replace=replace)
        return user

    _print(asyncio.run(run()))


async def _write(stub: "BackendServiceAsyncStub", user_id: str, documents: Mapping[str, Any], *, replace: bool) -> User:
    if replace:
        return (await stub.ReplaceUserMetadata(pb.ReplaceUserMetadataRequest(user_id=user_id, **documents))).user
    return (await stub.MergeUserMetadata(pb.MergeUserMetadataRequest(user_id=user_id, **documents))).user
