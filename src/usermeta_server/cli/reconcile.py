"""What becomes of one line of an import: the users that are there decide, not what was sent before."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta_server.cli.follow import backoff
from usermeta_server.cli.records import from_line
from usermeta_server.core.documents import dump
from usermeta_server.model import Document
from usermeta_server.services.structs import to_object

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs

Q = TypeVar("Q")
R = TypeVar("R")

_DOCUMENTS: Final = tuple(str(document) for document in Document)
_OUTPUT_ONLY: Final = frozenset({"id", "etag", "metadata_etags", "create_time", "update_time"})
_WRITABLE: Final = tuple(field.name for field in User.DESCRIPTOR.fields if field.name not in _OUTPUT_ONLY)
_IDENTIFIERS: Final = {
    "user_id": "id",
    "external_id": "external_id",
    "username": "username",
    "email_address": "email_address",
}
"""By which field of GetUserRequest, and so by which of a line's own, a user is found: the first that the line has."""
_REQUEST_IDS: Final = uuid.UUID("0b1f7e7c-6f5e-4c3e-9a0e-5a1f6f1d8c52")
"""The namespace (RFC 9562, version 5) of the request ids of lines without any identifier."""

_PASSING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
"""What is over soon where the server restarts."""
_RETRIES: Final = 8
_MAX_DELAY: Final = 8.0
"""Seconds between two attempts, at the most."""


@unique
class Outcome(StrEnum):
    """What became of a line."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    CONFLICTING = "conflicting"
    FAILED = "failed"


class ConflictError(Exception):
    """The user of a line is there already, and not as the line says."""


class Line(NamedTuple):
    """A line: the whole user that it says, by what that user is found, and the id of the request that makes them.

    `kind` is a field of GetUserRequest; with `value` it is empty for a line without any identifier.
    """

    user: User
    kind: str
    value: str
    request_id: str


def read_line(number: int, text: bytes) -> Line:
    """Return the line of that number.

    Raises:
        ValueError: it is no user.
    """
    user = from_line(text)
    for kind, name in _IDENTIFIERS.items():
        if value := getattr(user, name):
            return Line(user, kind, value, str(uuid.uuid4()))
    # Nothing in the data tells whether such a user was made: that is remembered, for 24 hours, under the request's id.
    return Line(user, "", "", str(uuid.uuid5(_REQUEST_IDS, f"{number} {text.decode()}")))


class Reconciler:
    """Makes users be as lines say, through one connection."""

    def __init__(self, stub: "BackendServiceAsyncStub", *, update: bool) -> None:
        """Write to users who are there already only with `update`."""
        self._stub = stub
        self._update = update
        self._reached = False

    async def reconcile(self, line: Line) -> Outcome:
        """Make the user of a line, or see that they are there just as it says; with `update` write what differs.

        Raises:
            ConflictError: they are there and differ; with `update` only if somebody else writes to them meanwhile.
            AioRpcError: the server refuses, or is away for longer than a restart takes.
        """
        found = None if line.kind else await self._find(line)
        found = found or await self._create(line)
        if found is None:
            return Outcome.CREATED
        differing = [name for name in _WRITABLE if _value(found, name) != _value(line.user, name)]
        if not differing:
            return Outcome.UNCHANGED
        if not self._update:
            raise ConflictError(f"the user {found.id} is there, with another {', '.join(differing)}")
        await self._write(found, line.user, differing)
        return Outcome.UPDATED

    async def _find(self, line: Line) -> User | None:
        """Return the user that a line is about, None if they are not there."""
        try:
            if line.kind:
                identifier: dict[str, Any] = {line.kind: line.value}
                request = pb.GetUserRequest(**identifier)
                return (await self._call(self._stub.GetUser, request)).user
            would_be = (await self._call(self._stub.CreateUser, _creation(line, validate_only=True))).user
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        # Only a user who was made has an id: the answer when the request has been carried out before.
        return would_be if would_be.id else None

    async def _create(self, line: Line) -> User | None:
        """Make the user of a line; return them if they are there already, None otherwise."""
        try:
            await self._call(self._stub.CreateUser, _creation(line))
        except grpc.aio.AioRpcError as error:
            found = await self._find(line) if error.code() is grpc.StatusCode.ALREADY_EXISTS else None
            if found is None:
                raise
            return found
        return None

    async def _write(self, found: User, wanted: User, differing: Sequence[str]) -> None:
        """Write what differs, the profile first, unless somebody has written since the user was found."""
        profile = [name for name in differing if name not in _DOCUMENTS]
        documents = [name for name in differing if name in _DOCUMENTS]
        try:
            if profile:
                await self._call(self._stub.UpdateUser, _profile_update(found, wanted, profile))
            if documents:
                await self._call(self._stub.ReplaceUserMetadata, _replacement(found, wanted, documents))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.ABORTED:
                raise ConflictError(f"the user {found.id} was changed meanwhile: run the import again") from error
            raise

    async def _call(self, method: Callable[[Q], Awaitable[R]], request: Q) -> R:
        """Call, and call again while a server that was there before is away for a moment.

        What may have happened nevertheless happens once: each request that writes has an id.
        """
        attempt = 0
        while True:
            try:
                response = await method(request)
            except grpc.aio.AioRpcError as error:
                away = error.code() in _PASSING
                self._reached = self._reached or not away
                if not away or not self._reached or attempt == _RETRIES:
                    raise
            else:
                self._reached = True
                return response
            await asyncio.sleep(backoff(attempt, _MAX_DELAY))
            attempt += 1


def _value(user: User, name: str) -> object:
    """Return a field of a user in a form that can be compared: a document that is not there is empty."""
    value = getattr(user, name)
    return dump(to_object(value, name)) if name in _DOCUMENTS else value


def _creation(line: Line, *, validate_only: bool = False) -> pb.CreateUserRequest:
    user = User(**{name: getattr(line.user, name) for name in _WRITABLE})
    return pb.CreateUserRequest(
        user=user, user_id=line.user.id, request_id=line.request_id, validate_only=validate_only
    )


def _profile_update(found: User, wanted: User, names: Sequence[str]) -> pb.UpdateUserRequest:
    # Unless it is said anew, a new address counts as unverified.
    paths = [*names, "email_address_verified"] if "email_address" in names else names
    return pb.UpdateUserRequest(
        user=User(id=found.id, **{name: getattr(wanted, name) for name in paths}),
        update_mask=FieldMask(paths=paths),
        expected_etag=found.etag,
        request_id=str(uuid.uuid4()),
    )


def _replacement(found: User, wanted: User, names: Sequence[str]) -> pb.ReplaceUserMetadataRequest:
    return pb.ReplaceUserMetadataRequest(
        user_id=found.id,
        expected_etags=found.metadata_etags,
        request_id=str(uuid.uuid4()),
        **{name: getattr(wanted, name) for name in names},
    )
