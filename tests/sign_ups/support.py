"""What tests of sign-ups share: a sign-up in its holder's hands and its backend's."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from tests.support import Service, struct
from usermeta.backend.v1 import backend_service_pb2 as backend_pb
from usermeta.backend.v1.sign_up_pb2 import SignUp as BackendSignUp
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1.sign_up_pb2 import SignUp
from usermeta.type.v1.sign_up_status_pb2 import SignUpStatus

if TYPE_CHECKING:  # the name is only in the stubs
    from usermeta.frontend.v1.frontend_service_pb2_grpc import FrontendServiceAsyncStub

HOUR: Final = 3600
DAY: Final = 24 * HOUR

MISSING: Final = SignUpStatus.SIGN_UP_STATUS_MISSING_REQUIREMENTS
READY: Final = SignUpStatus.SIGN_UP_STATUS_READY
COMPLETE: Final = SignUpStatus.SIGN_UP_STATUS_COMPLETE
REJECTED: Final = SignUpStatus.SIGN_UP_STATUS_REJECTED
ABANDONED: Final = SignUpStatus.SIGN_UP_STATUS_ABANDONED

Fields = Mapping[str, Any]
"""Fields of a sign-up by name; a dict is a document."""


def email_address() -> str:
    """Return an address that nothing else has."""
    return f"{uuid4().hex}@example.com"


def values(fields: Fields) -> dict[str, Any]:
    """Return fields as a message's constructor takes them."""
    return {name: struct(value) if isinstance(value, dict) else value for name, value in fields.items()}


class Pending:
    """A sign-up, with the stubs of its holder and of a backend; short forms of their calls."""

    def __init__(self, service: Service, sign_up: SignUp, token: str) -> None:
        """Hold the token of a sign-up that was made."""
        self.service = service
        self.first = sign_up
        self.id = sign_up.id
        self.token = token
        self.holder: FrontendServiceAsyncStub = service.frontend(token)

    async def seen(self) -> SignUp:
        """Return it as its holder sees it."""
        return (await self.holder.GetSignUp(frontend_pb.GetSignUpRequest())).sign_up

    async def known(self) -> BackendSignUp:
        """Return it as backends see it."""
        return (await self.service.admin.GetSignUp(backend_pb.GetSignUpRequest(sign_up_id=self.id))).sign_up

    async def update(self, fields: Fields, **more: Any) -> SignUp:  # noqa: ANN401  # any field of the request
        """Change it as its holder."""
        request = frontend_pb.UpdateSignUpRequest(sign_up=SignUp(**values(fields)), **more)
        return (await self.holder.UpdateSignUp(request)).sign_up

    async def attach(self, fields: Fields, **more: Any) -> BackendSignUp:  # noqa: ANN401  # any field of the request
        """Change it as a backend."""
        request = backend_pb.UpdateSignUpRequest(sign_up_id=self.id, sign_up=BackendSignUp(**values(fields)), **more)
        return (await self.service.admin.UpdateSignUp(request)).sign_up

    async def complete(self, **more: Any) -> frontend_pb.CompleteSignUpResponse:  # noqa: ANN401  # as above
        """Complete it as its holder."""
        return await self.holder.CompleteSignUp(frontend_pb.CompleteSignUpRequest(**more))

    async def attest(self, **more: Any) -> backend_pb.CompleteSignUpResponse:  # noqa: ANN401  # as above
        """Complete it as a backend."""
        return await self.service.admin.CompleteSignUp(backend_pb.CompleteSignUpRequest(sign_up_id=self.id, **more))

    async def reject(self, **more: Any) -> BackendSignUp:  # noqa: ANN401  # as above
        """Reject it as a backend."""
        request = backend_pb.RejectSignUpRequest(sign_up_id=self.id, **more)
        return (await self.service.admin.RejectSignUp(request)).sign_up


async def begin(service: Service, fields: Fields | None = None, **more: Any) -> Pending:  # noqa: ANN401  # as above
    """Begin a sign-up; without fields, with an address of its own."""
    given = {"email_address": email_address()} if fields is None else fields
    request = frontend_pb.CreateSignUpRequest(sign_up=SignUp(**values(given)), **more)
    made = await service.frontend().CreateSignUp(request)
    return Pending(service, made.sign_up, made.sign_up_token)
