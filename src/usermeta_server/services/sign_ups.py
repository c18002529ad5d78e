"""Sign-ups between messages and records."""

from typing import TypeVar

from google.protobuf.message import Message

from usermeta_server import policy
from usermeta_server.caller import Caller
from usermeta_server.model import ShownSignUp
from usermeta_server.services.messages import fill

M = TypeVar("M", bound=Message)


def with_sign_up(response: M, caller: Caller, sign_up: ShownSignUp) -> M:
    """Fill a response's `sign_up` with what the caller may read of one, and return the response."""
    filled(response.sign_up, caller, sign_up)  # type: ignore[attr-defined]  # each such response has one
    return response


def filled(message: M, caller: Caller, sign_up: ShownSignUp) -> M:
    """Fill a message with what the caller may read of a sign-up, and return it."""
    fill(message, policy.sign_up_view(caller, sign_up))
    return message
