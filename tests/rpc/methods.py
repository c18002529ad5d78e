"""Every RPC, as the descriptors have it, and for each a valid request to begin a test with."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.support import BACKEND, FRONTEND, Service, struct
from usermeta.backend.v1 import backend_service_pb2 as backend_pb
from usermeta.backend.v1 import secret_key_pb2
from usermeta.backend.v1.user_pb2 import User as BackendUser
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1.user_pb2 import User as FrontendUser
from usermeta.type.v1.patch_pb2 import PatchOperation
from usermeta_server.model import Scope
from usermeta_server.server import BACKEND as BACKEND_SERVICE
from usermeta_server.server import FRONTEND as FRONTEND_SERVICE

MARK: Final = "kept-out-of-sight"
"""What the subject's private document says, and no reply to a frontend may."""


class Method(NamedTuple):
    """One RPC: its full path and its messages."""

    path: str
    request: type[Message]
    response: type[Message]

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
        f"/{service.full_name}/{method.name}", GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    )
    for service in (BACKEND_SERVICE, FRONTEND_SERVICE)
    for method in service.methods
}
MUTATING: Final = [path for path, method in METHODS.items() if method.mutating]


class Subject(NamedTuple):
    """What the requests of one test are about: a user with a private document, a session of theirs, and a key."""

    user_id: str
    session: str
    key_id: str


async def new_subject(service: Service) -> Subject:
    """Make a subject."""
    user = await service.user(
        external_id=f"{MARK}-{uuid.uuid4()}",
        private_metadata={"secret": MARK},
        public_metadata={"plan": "pro"},
        unsafe_metadata={"theme": "dark"},
    )
    secret = await service.key(Scope.READ)
    return Subject(user.id, await service.session(user.id), f"key_{secret.split('_')[1]}")


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
    f"{FRONTEND}GetUser": lambda _: frontend_pb.GetUserRequest(),
    f"{FRONTEND}UpdateUser": lambda _: frontend_pb.UpdateUserRequest(user=FrontendUser(**_NAMES)),
    f"{FRONTEND}MergeUserMetadata": lambda _: frontend_pb.MergeUserMetadataRequest(unsafe_metadata=_DOCUMENT),
    f"{FRONTEND}ReplaceUserMetadata": lambda _: frontend_pb.ReplaceUserMetadataRequest(unsafe_metadata=_DOCUMENT),
    f"{FRONTEND}PatchUserMetadata": lambda _: frontend_pb.PatchUserMetadataRequest(unsafe_metadata=_patch()),
    f"{FRONTEND}GetProfile": lambda subject: frontend_pb.GetProfileRequest(user_id=subject.user_id),
    f"{FRONTEND}BatchGetProfiles": lambda subject: frontend_pb.BatchGetProfilesRequest(user_ids=[subject.user_id]),
}
"""For each RPC a request that succeeds; a new RPC fails the tests until it has one."""


def sample(path: str, subject: Subject, **fields: Any) -> Message:  # noqa: ANN401  # any field of any request
    """Return a valid request of an RPC, with these fields set."""
    request = SAMPLES[path](subject)
    for name, value in fields.items():
        setattr(request, name, value)
    return request


async def call(service: Service, path: str, request: Message, metadata: Sequence[tuple[str, str]]) -> Message:
    """Call an RPC and return its response."""
    reply = await service.raw(path, request.SerializeToString(), metadata)
    return METHODS[path].response.FromString(reply)


def credential(service: Service, path: str, subject: Subject) -> str:
    """Return a credential with which an RPC may be called."""
    return service.admin_key if METHODS[path].for_backends else subject.session


def user_of(response: Message) -> BackendUser:
    """Return the user in a response; a frontend's has the same fields, but for those that it may not see."""
    return cast("BackendUser", cast("Any", response).user)
