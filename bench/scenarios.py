"""What is measured: a store filled with users, and the calls of each scenario, as endless feeds."""

import sqlite3
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import grpc
from generate import GROUPS
from generate import fill as generate
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from http2 import Call, make_call
from load import counted_load
from servers import Server, make_key

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceStub
from usermeta.backend.v1.metadata_index_pb2 import MetadataIndex
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.type.v1.patch_pb2 import PatchOperation
from usermeta_server.clock import wall_clock
from usermeta_server.ids import new_id

BACKEND: Final = "/usermeta.backend.v1.BackendService/"
FRONTEND: Final = "/usermeta.frontend.v1.FrontendService/"
HOT: Final = 1000
"""Of how many users most scenarios are, however many there are."""
FEW: Final = 1000
"""Users of the smaller store."""
BATCH: Final = 20
"""Users of one BatchGetUsers, and of one page of ListUsers."""
_ANY: Final = 200_000
_RENEWED: Final = 0.1234567890123
"""A number that a call has another in place of each time that it is made, so that no document ever comes back."""
_DOUBLE: Final = struct.Struct("<d")
_MARK: Final = _DOUBLE.pack(_RENEWED)
_INDEXED: Final = "public_metadata.group"
_READS_TO_A_WRITE: Final = 9


class World(NamedTuple):
    """What calls are made with: a secret key, the ids of all users, session tokens of the first of them."""

    key: str
    users: Sequence[str]
    tokens: Sequence[str]


class Scenario(NamedTuple):
    """A kind of load.

    Attributes:
        name: Its name in tables.
        method: The echo server's method for it.
        calls: Makes the calls, to be repeated for ever.
        writes_every: Each how many-th call is a write; 0 is none.
    """

    name: str
    method: str
    calls: Callable[[World], Sequence[Call]]
    writes_every: int = 0


class Feed(Iterator[Call]):
    """A scenario's calls to one server, for ever. It goes on where it stopped, so that each merge changes something."""

    def __init__(self, calls: Sequence[Call], writes_every: int) -> None:
        """Begin at the beginning."""
        self._calls = calls
        self._every = writes_every
        self._place = 0
        self._writes = 0

    @property
    def is_writing(self) -> bool:
        """Whether some of the calls are writes."""
        return self._every > 0

    def __next__(self) -> Call:
        """Return the next call."""
        turn, place = divmod(self._place, len(self._calls))
        self._place += 1
        call = self._calls[place]
        return call._replace(body=call.body.replace(_MARK, _DOUBLE.pack(turn + 1))) if _MARK in call.body else call

    def writes(self) -> int:
        """Return how many writes were taken since this was asked last."""
        writes, before = self._place // self._every if self._every else 0, self._writes
        self._writes = writes
        return writes - before


def _backend(world: World, method: str, request: Message) -> Call:
    return make_call(BACKEND + method, request.SerializeToString(), token=world.key)


def _get_users(world: World) -> Sequence[Call]:
    return get_user_calls(world._replace(users=world.users[:HOT]))


def get_user_calls(world: World) -> Sequence[Call]:
    """Return a call of GetUser, by a backend, for each user."""
    return [_backend(world, "GetUser", pb.GetUserRequest(user_id=each)) for each in world.users]


def _get_any(world: World) -> Sequence[Call]:
    chosen = Random(1).sample(world.users, min(_ANY, len(world.users)))  # noqa: S311  # not secrets
    return get_user_calls(world._replace(users=chosen))


def _get_own(world: World) -> Sequence[Call]:
    message = frontend_pb.GetUserRequest().SerializeToString()
    return [make_call(f"{FRONTEND}GetUser", message, token=token) for token in world.tokens]


def _get_profiles(world: World) -> Sequence[Call]:
    requests = (frontend_pb.GetProfileRequest(user_id=each) for each in world.users[:HOT])
    return [make_call(f"{FRONTEND}GetProfile", request.SerializeToString()) for request in requests]


def _merges(world: World, key: str = "small") -> Sequence[Call]:
    """Return merges of one key into each user in turn, with another value each turn."""
    return [_merge(world, user, key) for user in world.users[:HOT]]


def _merge(world: World, user_id: str, key: str) -> Call:
    request = pb.MergeUserMetadataRequest(user_id=user_id)
    request.public_metadata.update({key: _RENEWED})
    return _backend(world, "MergeUserMetadata", request)


def _increments(world: World) -> Sequence[Call]:
    operation = PatchOperation(op=PatchOperation.OP_INCREMENT, path="/count", value=Value(number_value=1))
    request = pb.PatchUserMetadataRequest(user_id=world.users[0], private_metadata=[operation])
    return [_backend(world, "PatchUserMetadata", request)]


def _batches(world: World) -> Sequence[Call]:
    hot = world.users[:HOT]
    requests = (pb.BatchGetUsersRequest(user_ids=hot[place : place + BATCH]) for place in range(0, len(hot), BATCH))
    return [_backend(world, "BatchGetUsers", request) for request in requests]


def _pages(world: World) -> Sequence[Call]:
    filters = (f"{_INDEXED} = {group}" for group in range(GROUPS))
    return [_backend(world, "ListUsers", pb.ListUsersRequest(filter=each, page_size=BATCH)) for each in filters]


def _mix(world: World) -> Sequence[Call]:
    reads, writes = _get_users(world), _merges(world, "mixed")
    return [
        call
        for place, write in enumerate(writes)
        for call in (*(reads[(place * 7919 + each * 101) % len(reads)] for each in range(_READS_TO_A_WRITE)), write)
    ]


GET_USER: Final = Scenario("GetUser, backend", "GetUser", _get_users)
GET_OWN: Final = Scenario("GetUser, frontend, 1,000 sessions", "GetOwnUser", _get_own)
GET_PROFILE: Final = Scenario("GetProfile, signed out", "GetProfile", _get_profiles)
MERGE: Final = Scenario("MergeUserMetadata, small key, 1 KB document", "MergeUserMetadata", _merges, 1)
INCREMENT: Final = Scenario("PatchUserMetadata, increment, one hot user", "PatchUserMetadata", _increments, 1)
_OTHERS: Final = (
    Scenario(f"BatchGetUsers, {BATCH} users", "BatchGetUsers", _batches),
    Scenario(f"ListUsers, page of {BATCH}, indexed path", "ListUsers", _pages),
    Scenario("90 % GetUser, 10 % MergeUserMetadata", "Mix", _mix, _READS_TO_A_WRITE + 1),
)
SCENARIOS: Final = (GET_USER, GET_OWN, GET_PROFILE, MERGE, INCREMENT, *_OTHERS)
"""What is measured beside the echo server."""
SCALED: Final = (GET_USER, GET_PROFILE, MERGE, INCREMENT, *_OTHERS)
"""What is measured on many users beside few."""
BEYOND: Final = Scenario("GetUser, backend, any of all users", "GetAnyUser", _get_any)
"""On many users most of these are in no cache."""


def echoed(scenario: Scenario, calls: Sequence[Call]) -> Sequence[Call]:
    """Return the same calls to the echo server: the same bodies and credentials."""
    return [call._replace(path=f"/echo.Echo/{scenario.method}") for call in calls]


@contextmanager
def _channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def fill(server: Server, key: str, count: int = FEW, *, tokens: int = HOT) -> World:
    """Make users with documents of 1 KB and an index on a path, all through the API; return what to call with."""
    users = [new_id("user", wall_clock()) for _ in range(count)]
    world = World(key, users, ())
    with _channel(server) as channel:
        stub: Any = BackendServiceStub(channel)
        metadata = (("authorization", f"Bearer {key}"),)
        stub.CreateMetadataIndex(pb.CreateMetadataIndexRequest(path=_INDEXED), metadata=metadata)
        _wait_for_index(stub, metadata)
        made = counted_load(server.port, _creations(world), 256, count)
        assert made.succeeded == count, made.failures
        requests = (pb.CreateSessionTokenRequest(user_id=each) for each in users[:tokens])
        issued = [stub.CreateSessionToken(request, metadata=metadata).session_token for request in requests]
    return world._replace(tokens=issued)


def generated(database: Path, count: int) -> World:
    """Make a store with so many users, straight into its tables; return what to call with."""
    generate(database, count, (_INDEXED,))
    with closing(sqlite3.connect(database)) as connection:
        users = [row[0] for row in connection.execute("SELECT id FROM users ORDER BY id")]
    return World(make_key(database), users, ())


def _wait_for_index(stub: Any, metadata: Sequence[tuple[str, str]]) -> None:  # noqa: ANN401  # generated stubs
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        listed = stub.ListMetadataIndexes(pb.ListMetadataIndexesRequest(), metadata=metadata)
        if all(index.state == MetadataIndex.STATE_READY for index in listed.metadata_indexes):
            return
        time.sleep(0.1)
    raise TimeoutError("the index is not ready")


def _creations(world: World) -> Iterator[Call]:
    for number, user_id in enumerate(world.users):
        request = pb.CreateUserRequest(user_id=user_id)
        request.user.username = f"user-{number}"
        request.user.first_name = "Ada"
        # No two users have the same documents: what a server keeps by its contents shall not serve a thousand of them.
        request.user.public_metadata.update({"group": number % GROUPS, "name": f"user-{number}", **_DOCUMENT})
        request.user.private_metadata.update({"count": 0, "name": f"user-{number}"})
        request.user.unsafe_metadata.update({"theme": "dark", "name": f"user-{number}"})
        yield _backend(world, "CreateUser", request)


_DOCUMENT: Final = {f"key{number:02}": "v" * 20 for number in range(31)}


def first_reply(server: Server, call: Call) -> bytes:
    """Make one call by gRPC's own client, which raises unless its status is OK; return the reply's bytes."""
    metadata = (("authorization", _token(call)),) if call.credential else ()
    with _channel(server) as channel:
        method: Any = channel.unary_unary(call.path)
        reply: bytes = method(call.body[5:], metadata=metadata)
    assert reply
    return reply


def _token(call: Call) -> str:
    return call.credential[call.credential.index(b"Bearer ") :].decode()
