"""Every RPC, as the descriptors have it, and for each a valid request to begin a test with."""

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.rpc.outside import outside_token
from tests.rpc.requests import merge
from tests.support import BACKEND, DEADLINE, FRONTEND, Service, struct
from usermeta.backend.v1 import backend_service_pb2 as backend_pb
from usermeta.backend.v1 import secret_key_pb2
from usermeta.backend.v1.sign_up_pb2 import SignUp as BackendSignUp
from usermeta.backend.v1.user_pb2 import User as BackendUser
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1.sign_up_pb2 import SignUp as FrontendSignUp
from usermeta.frontend.v1.user_pb2 import User as FrontendUser
from usermeta.type.v1.patch_pb2 import PatchOperation
from usermeta_server.model import IndexState, MetadataIndex, Scope
from usermeta_server.server import BACKEND as BACKEND_SERVICE
from usermeta_server.server import FRONTEND as FRONTEND_SERVICE
from usermeta_server.store.contract import Draft, Reads

MARK: Final = "kept-out-of-sight"
"""What the private documents of the subject's user and sign-up say, and no reply to a frontend may."""
INDEXED: Final = ("public_metadata", "indexed")
"""A path on which there is an index, that no user has."""


class Method(NamedTuple):
    """One RPC: its full path, its messages, and whether it returns a stream."""

    path: str
    request: type[Message]
    response: type[Message]
    streaming: bool

    @property
    def name(self) -> str:
        """The name of the RPC without its service."""
        return self.path.rpartition("/")[2]

    @property
    def for_backends(self) -> bool:
        """Whether it is one of BackendService."""
        return self.path.startswith(BACKEND)

    @property
    def mutating(self) -> bool:
        """Whether it changes anything, going by its name (AIP-130)."""
        return not self.name.startswith(("Get", "List", "BatchGet", "Count", "Watch"))


METHODS: Final[Mapping[str, Method]] = {
    f"/{service.full_name}/{method.name}": Method(
        f"/{service.full_name}/{method.name}",
        GetMessageClass(method.input_type),
        GetMessageClass(method.output_type),
        method.server_streaming,
    )
    for service in (BACKEND_SERVICE, FRONTEND_SERVICE)
    for method in service.methods
}
MUTATING: Final = [path for path, method in METHODS.items() if method.mutating]
BY_EXTERNAL_ID: Final = [
    path for path, method in METHODS.items() if "identifier" in method.request.DESCRIPTOR.oneofs_by_name
]
"""The RPCs whose requests name a user by one of its identifiers."""
MASKED: Final = [path for path, method in METHODS.items() if "read_mask" in method.request.DESCRIPTOR.fields_by_name]
"""The RPCs whose requests say which fields of users they want."""


class Subject(NamedTuple):
    """What the requests of one test are about.

    There is a user with a private document and an external id, whose first change is `change_id`, with a session and
    the token of an outside issuer (`identity`); somebody who is no user yet, with such a token (`newcomer`); a sign-up
    with its token, to which a backend attached what its holder may not see; a secret key; and a path with an index.
    """

    user_id: str
    external_id: str
    change_id: int
    session: str
    identity: str
    newcomer: str
    sign_up_id: str
    sign_up_token: str
    key_id: str
    index_path: str


NOBODY: Final = Subject(
    "user_nobody", "nobody", 1, "", "", "", "signup_nobody", "", "key_nobody", "public_metadata.nobody"
)
"""A subject that does not exist."""


async def new_subject(service: Service) -> Subject:
    """Make a subject: in two commits, for each test waits for them."""
    external_id = f"{MARK}-{uuid.uuid4()}"
    person = FrontendSignUp(email_address=f"{uuid.uuid4()}@example.com", unsafe_metadata=struct({"theme": "dark"}))
    user, sign_up, secret, _ = await asyncio.gather(
        service.user(
            external_id=external_id,
            private_metadata={"secret": MARK},
            public_metadata={"plan": "pro"},
            unsafe_metadata={"theme": "light"},
        ),
        service.frontend().CreateSignUp(frontend_pb.CreateSignUpRequest(sign_up=person)),
        service.key(Scope.READ),
        service.server.app.store.write(Reads(metadata_indexes=(INDEXED,)), _index),
    )
    attached = BackendSignUp(
        external_id=f"{MARK}-{uuid.uuid4()}",
        private_metadata=struct({"secret": MARK}),
        public_metadata=struct({"plan": MARK}),
    )
    changes, session, *_ = await asyncio.gather(
        service.admin.ListUserChanges(backend_pb.ListUserChangesRequest(user_id=user.id)),
        service.session(user.id),
        service.admin.MergeUserMetadata(merge(user.id, unsafe_metadata={"theme": "dark"})),
        service.admin.UpdateSignUp(backend_pb.UpdateSignUpRequest(sign_up_id=sign_up.sign_up.id, sign_up=attached)),
    )
    return Subject(
        user_id=user.id,
        external_id=external_id,
        change_id=changes.changes[-1].change_id,
        session=session,
        identity=outside_token(external_id),
        newcomer=outside_token(str(uuid.uuid4())),
        sign_up_id=sign_up.sign_up.id,
        sign_up_token=sign_up.sign_up_token,
        key_id=f"key_{secret.split('_')[1]}",
        index_path=".".join(INDEXED),
    )


def _index(draft: Draft) -> None:
    """Make sure of an index, which is ready at once, for there is nothing to put into it."""
    if draft.metadata_indexes.get(INDEXED) is None:
        made = MetadataIndex(INDEXED, draft.next_version(), IndexState.READY, "")
        draft.metadata_indexes.put(INDEXED, made)


def _patch() -> list[PatchOperation]:
    operation = PatchOperation(op=PatchOperation.OP_ADD, path="/sample")
    operation.value.string_value = "patched"
    return [operation]


_DOCUMENT: Final = struct({"sample": "written"})
_NAMES: Final[Mapping[str, Any]] = {"first_name": "Ada", "last_name": "Lovelace"}
_SCOPES: Final = [secret_key_pb2.SCOPE_READ]


def _merge(subject: Subject) -> backend_pb.MergeUserMetadataRequest:
    return backend_pb.MergeUserMetadataRequest(user_id=subject.user_id, public_metadata=_DOCUMENT)


SAMPLES: Final[Mapping[str, Callable[[Subject], Message]]] = {
    f"{BACKEND}CreateUser": lambda _: backend_pb.CreateUserRequest(
        user=BackendUser(username=uuid.uuid4().hex, public_metadata=_DOCUMENT)
    ),
    f"{BACKEND}GetUser": lambda subject: backend_pb.GetUserRequest(user_id=subject.user_id),
    f"{BACKEND}BatchGetUsers": lambda subject: backend_pb.BatchGetUsersRequest(user_ids=[subject.user_id]),
    f"{BACKEND}UpdateUser": lambda subject: backend_pb.UpdateUserRequest(
        user=BackendUser(id=subject.user_id, **_NAMES)
    ),
    f"{BACKEND}DeleteUser": lambda subject: backend_pb.DeleteUserRequest(user_id=subject.user_id),
    f"{BACKEND}MergeUserMetadata": _merge,
    f"{BACKEND}ReplaceUserMetadata": lambda subject: backend_pb.ReplaceUserMetadataRequest(
        user_id=subject.user_id, private_metadata=_DOCUMENT
    ),
    f"{BACKEND}PatchUserMetadata": lambda subject: backend_pb.PatchUserMetadataRequest(
        user_id=subject.user_id, unsafe_metadata=_patch()
    ),
    f"{BACKEND}BatchMergeUserMetadata": lambda subject: backend_pb.BatchMergeUserMetadataRequest(
        requests=[_merge(subject)]
    ),
    f"{BACKEND}CreateSessionToken": lambda subject: backend_pb.CreateSessionTokenRequest(user_id=subject.user_id),
    f"{BACKEND}CreateSecretKey": lambda _: backend_pb.CreateSecretKeyRequest(display_name="sample", scopes=_SCOPES),
    f"{BACKEND}ListSecretKeys": lambda _: backend_pb.ListSecretKeysRequest(page_size=1),
    f"{BACKEND}RevokeSecretKey": lambda subject: backend_pb.RevokeSecretKeyRequest(secret_key_id=subject.key_id),
    f"{BACKEND}ListUsers": lambda _: backend_pb.ListUsersRequest(page_size=1),
    f"{BACKEND}CountUsers": lambda subject: backend_pb.CountUsersRequest(filter=f'id = "{subject.user_id}"'),
    f"{BACKEND}CreateMetadataIndex": lambda _: backend_pb.CreateMetadataIndexRequest(
        path=f"public_metadata.made_{uuid.uuid4().hex}"
    ),
    f"{BACKEND}ListMetadataIndexes": lambda _: backend_pb.ListMetadataIndexesRequest(),
    f"{BACKEND}DeleteMetadataIndex": lambda subject: backend_pb.DeleteMetadataIndexRequest(path=subject.index_path),
    f"{BACKEND}ListUserChanges": lambda subject: backend_pb.ListUserChangesRequest(user_id=subject.user_id),
    f"{BACKEND}RestoreUserMetadata": lambda subject: backend_pb.RestoreUserMetadataRequest(
        user_id=subject.user_id, change_id=subject.change_id
    ),
    f"{BACKEND}WatchUsers": lambda _: backend_pb.WatchUsersRequest(),
    f"{BACKEND}GetSignUp": lambda subject: backend_pb.GetSignUpRequest(sign_up_id=subject.sign_up_id),
    f"{BACKEND}ListSignUps": lambda _: backend_pb.ListSignUpsRequest(page_size=1),
    f"{BACKEND}UpdateSignUp": lambda subject: backend_pb.UpdateSignUpRequest(
        sign_up_id=subject.sign_up_id, sign_up=BackendSignUp(**_NAMES, private_metadata=_DOCUMENT)
    ),
    f"{BACKEND}CompleteSignUp": lambda subject: backend_pb.CompleteSignUpRequest(sign_up_id=subject.sign_up_id),
    f"{BACKEND}RejectSignUp": lambda subject: backend_pb.RejectSignUpRequest(sign_up_id=subject.sign_up_id),
    f"{FRONTEND}CreateSignUp": lambda _: frontend_pb.CreateSignUpRequest(
        sign_up=FrontendSignUp(email_address=f"{uuid.uuid4()}@example.com", unsafe_metadata=_DOCUMENT)
    ),
    f"{FRONTEND}GetSignUp": lambda _: frontend_pb.GetSignUpRequest(),
    f"{FRONTEND}UpdateSignUp": lambda _: frontend_pb.UpdateSignUpRequest(
        sign_up=FrontendSignUp(**_NAMES, unsafe_metadata=_DOCUMENT)
    ),
    f"{FRONTEND}CompleteSignUp": lambda _: frontend_pb.CompleteSignUpRequest(),
    f"{FRONTEND}GetUser": lambda _: frontend_pb.GetUserRequest(),
    f"{FRONTEND}WatchUser": lambda _: frontend_pb.WatchUserRequest(),
    f"{FRONTEND}UpdateUser": lambda _: frontend_pb.UpdateUserRequest(user=FrontendUser(**_NAMES)),
    f"{FRONTEND}MergeUserMetadata": lambda _: frontend_pb.MergeUserMetadataRequest(unsafe_metadata=_DOCUMENT),
    f"{FRONTEND}ReplaceUserMetadata": lambda _: frontend_pb.ReplaceUserMetadataRequest(unsafe_metadata=_DOCUMENT),
    f"{FRONTEND}PatchUserMetadata": lambda _: frontend_pb.PatchUserMetadataRequest(unsafe_metadata=_patch()),
    f"{FRONTEND}GetProfile": lambda subject: frontend_pb.GetProfileRequest(user_id=subject.user_id),
    f"{FRONTEND}BatchGetProfiles": lambda subject: frontend_pb.BatchGetProfilesRequest(user_ids=[subject.user_id]),
}
"""For each RPC a request that succeeds; a new RPC fails the tests until it has one."""


HOLDERS: Final = [f"{FRONTEND}{name}" for name in ("GetSignUp", "UpdateSignUp", "CompleteSignUp")]
"""The RPCs of who holds a sign-up token."""


def sample(path: str, subject: Subject, /, **fields: Any) -> Message:  # noqa: ANN401  # any field of any request
    """Return a valid request of an RPC, with these fields set."""
    request = SAMPLES[path](subject)
    for name, value in fields.items():
        if isinstance(value, Message):
            getattr(request, name).CopyFrom(value)
        else:
            setattr(request, name, value)
    return request


async def raw(service: Service, path: str, body: bytes, metadata: Sequence[tuple[str, str]]) -> bytes:
    """Call an RPC with bytes of the test's own, and return those of its response: of a stream, of the first one."""
    if not METHODS[path].streaming:
        return await service.raw(path, body, metadata)
    method = service.channel.unary_stream(path, request_serializer=bytes, response_deserializer=bytes)
    stream = method(body, metadata=grpc.aio.Metadata(*metadata), timeout=DEADLINE)
    first = await stream.read()
    assert isinstance(first, bytes), "the stream ended"
    stream.cancel()
    return first


async def call(service: Service, path: str, request: Message, metadata: Sequence[tuple[str, str]]) -> Message:
    """Call an RPC and return its response, of a stream the first one."""
    reply = await raw(service, path, request.SerializeToString(), metadata)
    return METHODS[path].response.FromString(reply)


def credential(service: Service, path: str, subject: Subject) -> str:
    """Return a credential with which an RPC may be called, also with a request id."""
    if METHODS[path].for_backends:
        return service.admin_key
    if path in HOLDERS:
        return subject.sign_up_token
    return subject.newcomer if path == f"{FRONTEND}CreateSignUp" else subject.session


def user_of(response: Message) -> BackendUser:
    """Return the user in a response; a frontend's has the same fields, but for those that it may not see."""
    return cast("BackendUser", cast("Any", response).user)
