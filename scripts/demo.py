"""The story of one user, from sign-up to three views of them, on a temporary store: `make demo`.

Everything goes through real channels and the generated stubs. It prints what each audience sees, side by side, and
exits with 1 if anything differs from what it should be.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from usermeta.backend.v1 import backend_service_pb2 as backend_pb
from usermeta.backend.v1 import backend_service_pb2_grpc
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1 import frontend_service_pb2_grpc
from usermeta_server.caller import OPERATOR, OPERATOR_ACTOR
from usermeta_server.core.writes import Intent
from usermeta_server.model import Scope
from usermeta_server.server import start_server
from usermeta_server.settings import ServerSettings

DOCUMENTS: Final = ("public_metadata", "private_metadata", "unsafe_metadata")
SEEN: Final = ("username", "email_address", "external_id", *DOCUMENTS)
"""What the table shows of a user, in this order."""
BESIDES: Final = {"id", "user_id", "etag", "metadata_etags", "create_time", "update_time"}
"""What differs each time."""

UNSAFE: Final = {"company": "Analytical Engines", "country": "GB", "terms_accepted": True, "theme": "dark"}
EXPECTED: Final[Mapping[str, Mapping[str, object]]] = {
    "backend": {
        "username": "ada",
        "email_address": "ada@example.com",
        "external_id": "crm-1815",
        "public_metadata": {"plan": "pro"},
        "private_metadata": {"billing_id": "cus_42"},
        "unsafe_metadata": UNSAFE,
    },
    "the user": {
        "username": "ada",
        "email_address": "ada@example.com",
        "public_metadata": {"plan": "pro"},
        "unsafe_metadata": UNSAFE,
    },
    "a visitor": {"username": "ada", "public_metadata": {"plan": "pro"}},
}
"""What each audience should see, and nothing else."""

WIDTH: Final = 100
LABEL: Final = 18
COLUMN: Final = (WIDTH - LABEL) // len(EXPECTED) - 3
GREEN, RED, DIM, BOLD, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[1m", "\x1b[0m"


class Story:
    """What is told, and how often it went otherwise than it should."""

    def __init__(self, *, colour: bool) -> None:
        """Begin to tell, in colour or without."""
        self.wrong = 0
        self._colour = colour

    def paint(self, text: str, colour: str) -> str:
        """Return a text in a colour, if there are any."""
        return f"{colour}{text}{PLAIN}" if self._colour else text

    def part(self, title: str) -> None:
        """Begin a part."""
        print(f"\n{self.paint(title, BOLD)}")

    def check(self, what: str, found: object, expected: object) -> None:
        """Tell one thing, and whether it is as it should be."""
        right = found == expected
        self.wrong += not right
        print(f"  {self.paint('ok   ', GREEN) if right else self.paint('WRONG', RED)}  {what}")
        if not right:
            print(f"         found {found!r}\n         not   {expected!r}")

    async def refused(self, who: str, call: Awaitable[object], expected: str) -> None:
        """Tell of a call that must be refused, and for which reason it should be."""
        try:
            await call
        except grpc.aio.AioRpcError as error:
            found = f"{error.code().name} {reason_of(error)}"
        else:
            found = "no refusal"
        self.check(f"{who:<64} {expected.split()[1]}", found, expected)

    def table(self, columns: Mapping[str, Mapping[str, object]]) -> None:
        """Tell what each audience sees, in columns."""
        rule = self.paint("-" * LABEL + ("+" + "-" * (COLUMN + 2)) * len(columns), DIM)
        print(f"{'':<{LABEL}}" + "".join(f"| {self.paint(f'{name:<{COLUMN}}', BOLD)} " for name in columns).rstrip())
        for name in SEEN:
            print(rule)
            cells = [lines_of(seen.get(name)) for seen in columns.values()]
            for index, row in enumerate(zip_longest(*cells, fillvalue="")):
                label = name if index == 0 else ""
                print((f"{label:<{LABEL}}" + "".join(self._cell(text) for text in row)).rstrip())

    def _cell(self, text: str) -> str:
        return f"| {self.paint(f'{text:<{COLUMN}}', DIM if text == '-' else GREEN)} "


def lines_of(value: object) -> Sequence[str]:
    """Return a value as the lines of a cell: a document with a line for each key, a dash for what isn't there."""
    if value is None:
        return ["-"]
    if isinstance(value, dict):
        return [line for key, member in sorted(value.items()) for line in wrap(f"{key}: {json.dumps(member)}", COLUMN)]
    return wrap(str(value), COLUMN)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason of a refusal, from the ErrorInfo that every one has."""
    info = ErrorInfo()
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            Status.FromString(bytes(value)).details[0].Unpack(info)  # type: ignore[arg-type]  # -bin is bytes
    return info.reason


def seen_in(message: Message) -> Mapping[str, object]:
    """Return all that is set in a user or profile, but what differs each time."""
    fields: dict[str, object] = MessageToDict(message, preserving_proto_field_name=True)
    return {name: value for name, value in fields.items() if name not in BESIDES}


def bearer(token: str) -> grpc.aio.Metadata:
    """Return the metadata that carries a credential."""
    return grpc.aio.Metadata(("authorization", f"Bearer {token}"))


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Any, Any, str]]:
    """Run a server on a store of its own; return stubs of both services, for backend and frontend, and a secret key."""
    with TemporaryDirectory() as folder:
        chosen = ServerSettings(
            database_url=Path(folder, "demo.db"),
            listen="127.0.0.1:0",
            access_log="off",
            sign_up_required=("email_address", "unsafe_metadata.terms_accepted"),
        )
        async with start_server(chosen) as server:
            keys = server.app.use_cases.secret_keys
            made = await keys.create(OPERATOR, "demo", (Scope.WRITE,), 0, Intent(OPERATOR_ACTOR, "demo"))
            address = f"127.0.0.1:{server.port}"
            async with grpc.aio.insecure_channel(address) as servers, grpc.aio.insecure_channel(address) as phone:
                backend = backend_service_pb2_grpc.BackendServiceStub(servers)
                yield backend, frontend_service_pb2_grpc.FrontendServiceStub(phone), made.secret


async def sign_up(story: Story, frontend: Any, backend: Any, key: grpc.aio.Metadata) -> tuple[str, str, str]:  # noqa: ANN401  # stubs
    """Tell the sign-up, and return the user's id, their session token, and the sign-up token."""
    story.part("A visitor signs up")
    form = {"company": "Analytical Engines", "country": "GB", "terms_accepted": False}
    request = {"sign_up": {"email_address": "ada@example.com", "unsafe_metadata": form}}
    begun = await frontend.CreateSignUp(ParseDict(request, frontend_pb.CreateSignUpRequest()))
    token = bearer(begun.sign_up_token)
    missing = list(begun.sign_up.missing_fields)
    story.check(
        "company and country are kept; the terms are still missing", missing, ["unsafe_metadata.terms_accepted"]
    )
    complete = frontend_pb.CompleteSignUpRequest()
    too_early = frontend.CompleteSignUp(complete, metadata=token)
    await story.refused("they complete it too early", too_early, "FAILED_PRECONDITION SIGN_UP_INCOMPLETE")
    update = {"sign_up": {"username": "ada", "unsafe_metadata": {**form, "terms_accepted": True}}}
    updated = await frontend.UpdateSignUp(ParseDict(update, frontend_pb.UpdateSignUpRequest()), metadata=token)
    story.check("they accept the terms: nothing is missing", list(updated.sign_up.missing_fields), [])
    attach = {"sign_up_id": begun.sign_up.id, "sign_up": {"external_id": "crm-1815"}}
    await backend.UpdateSignUp(ParseDict(attach, backend_pb.UpdateSignUpRequest()), metadata=key)
    seen = await frontend.GetSignUp(frontend_pb.GetSignUpRequest(), metadata=token)
    story.check("the backend attaches its own id: the visitor sees no change at all", seen.sign_up, updated.sign_up)
    done = await frontend.CompleteSignUp(complete, metadata=token)
    again = await frontend.CompleteSignUp(complete, metadata=token)
    story.check("they complete it, twice: one user", again.user, done.user)
    return done.user.id, done.session_token, begun.sign_up_token


async def write(story: Story, frontend: Any, backend: Any, key: grpc.aio.Metadata, ids: tuple[str, str, str]) -> None:  # noqa: ANN401  # stubs
    """Tell what the backend writes, and what the user does."""
    user_id, session_token, _ = ids
    session = bearer(session_token)
    story.part("The backend sells a plan, the user picks a theme")
    sale = {"user_id": user_id, "public_metadata": {"plan": "pro"}, "private_metadata": {"billing_id": "cus_42"}}
    before = (await frontend.GetUser(frontend_pb.GetUserRequest(), metadata=session)).user
    await backend.MergeUserMetadata(ParseDict(sale, backend_pb.MergeUserMetadataRequest()), metadata=key)
    after = (await frontend.GetUser(frontend_pb.GetUserRequest(), metadata=session)).user
    story.check("before the sale the user has no plan", MessageToDict(before.public_metadata), {})
    story.check("after it they read it", MessageToDict(after.public_metadata), {"plan": "pro"})
    theme = ParseDict({"unsafe_metadata": {"theme": "dark"}}, frontend_pb.MergeUserMetadataRequest())
    edited = (await frontend.MergeUserMetadata(theme, metadata=session)).user
    story.check("the user edits what is theirs", seen_in(edited), EXPECTED["the user"])


async def refusals(story: Story, frontend: Any, backend: Any, ids: tuple[str, str, str]) -> None:  # noqa: ANN401  # stubs
    """Tell what is refused."""
    user_id, session_token, sign_up_token = ids
    session = bearer(session_token)
    story.part("And is refused the rest")
    plan = {"public_metadata": {"plan": "enterprise"}}
    theft = ParseDict({"user_id": user_id, **plan}, backend_pb.MergeUserMetadataRequest())
    read = backend_pb.GetUserRequest(user_id=user_id)
    upgrade = ParseDict({"user": plan}, frontend_pb.UpdateUserRequest())
    move = ParseDict({"user": {}, "update_mask": "emailAddress"}, frontend_pb.UpdateUserRequest())
    correct = ParseDict({"sign_up": {"first_name": "Eve"}}, frontend_pb.UpdateSignUpRequest())
    mine, holder = frontend_pb.GetUserRequest(), bearer(sign_up_token)
    wrong_kind, bad_field = "UNAUTHENTICATED CREDENTIAL_INVALID", "INVALID_ARGUMENT FIELD_INVALID"
    closed, missing = "FAILED_PRECONDITION SIGN_UP_CLOSED", "UNAUTHENTICATED CREDENTIAL_MISSING"
    attempts = (
        ("the user writes public_metadata as a backend", backend.MergeUserMetadata, theft, session, wrong_kind),
        ("the user reads private_metadata as a backend", backend.GetUser, read, session, wrong_kind),
        ("the user writes public_metadata as their own", frontend.UpdateUser, upgrade, session, bad_field),
        ("the user changes their address", frontend.UpdateUser, move, session, bad_field),
        ("the user corrects the sign-up that they came by", frontend.UpdateSignUp, correct, holder, closed),
        ("the sign-up token reads the user", frontend.GetUser, mine, holder, wrong_kind),
        ("a visitor reads the user", frontend.GetUser, mine, None, missing),
    )
    for who, method, request, credential, expected in attempts:
        await story.refused(who, method(request, metadata=credential), expected)


async def views(story: Story, frontend: Any, backend: Any, key: grpc.aio.Metadata, ids: tuple[str, str, str]) -> None:  # noqa: ANN401  # stubs
    """Tell what each audience sees."""
    user_id, session_token, _ = ids
    known = await backend.GetUser(backend_pb.GetUserRequest(user_id=user_id), metadata=key)
    own = await frontend.GetUser(frontend_pb.GetUserRequest(), metadata=bearer(session_token))
    public = await frontend.GetProfile(frontend_pb.GetProfileRequest(user_id=user_id))
    found = dict(zip(EXPECTED, map(seen_in, (known.user, own.user, public.profile)), strict=True))
    story.part("What each audience sees of the user")
    story.table(found)
    print()
    for name, expected in EXPECTED.items():
        story.check(f"{name} sees this and no more", found[name], expected)


async def tell(story: Story) -> None:
    """Tell the whole story."""
    async with serving() as (backend, frontend, secret):
        key = bearer(secret)
        ids = await sign_up(story, frontend, backend, key)
        await write(story, frontend, backend, key, ids)
        await refusals(story, frontend, backend, ids)
        await views(story, frontend, backend, key, ids)


def main() -> int:
    """Tell the story, and return 0 if all was as it should be, otherwise 1."""
    story = Story(colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    asyncio.run(tell(story))
    end = story.paint(f"{story.wrong} differ from what they should be", RED) if story.wrong else "All as it should be."
    print(f"\n{end}")
    return 1 if story.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
