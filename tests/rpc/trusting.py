"""A server that trusts outside issuers, as tests use it: tokens of theirs, and sign-ups under them."""

import time
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.auth.oidc import Oidc
from tests.support import Service, struct
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as pb
from usermeta.frontend.v1.sign_up_pb2 import SignUp
from usermeta.frontend.v1.user_pb2 import User as OwnUser

if TYPE_CHECKING:  # the name is only in the stubs
    from usermeta.frontend.v1.frontend_service_pb2_grpc import FrontendServiceAsyncStub

ME: Final = pb.GetUserRequest()
THEME: Final = {"theme": "dark"}


class Trusting(NamedTuple):
    """A server that trusts two issuers, whose users it tells apart by a prefix each."""

    service: Service
    first: Oidc
    second: Oidc

    def token(self, sub: str, issuer: Oidc | None = None, /, **claims: Any) -> str:  # noqa: ANN401  # any claim
        """Return a session token of the first issuer, or another, that works for a minute."""
        return (issuer or self.first).token(time.time_ns() // 1000, sub=sub, jti=str(uuid.uuid4()), **claims)

    async def get(self, token: str) -> OwnUser:
        """Return the user that a token stands for."""
        return (await self.service.frontend(token).GetUser(ME)).user


def address() -> str:
    """Return an email address that no other test has."""
    return f"{uuid.uuid4()}@example.com"


async def begin(trusting: Trusting, token: str, **fields: Any) -> pb.CreateSignUpResponse:  # noqa: ANN401  # any field
    """Begin a sign-up with a token."""
    request = pb.CreateSignUpRequest(sign_up=SignUp(unsafe_metadata=struct(THEME), **fields))
    return await trusting.service.frontend(token).CreateSignUp(request)


def holder(trusting: Trusting, made: pb.CreateSignUpResponse) -> "FrontendServiceAsyncStub":
    """Return the stub of who holds a sign-up's token."""
    return trusting.service.frontend(made.sign_up_token)


async def join(trusting: Trusting, token: str, **fields: Any) -> User:  # noqa: ANN401  # any field
    """Sign up under a token's identity, and return the user as backends see it."""
    made = await begin(trusting, token, **{"email_address": address(), **fields})
    user = (await holder(trusting, made).CompleteSignUp(pb.CompleteSignUpRequest())).user
    return await trusting.service.get(user.id)
