"""From a service's proto descriptor to its methods, whatever transport calls them."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from usermeta_server.admission.call import Call
from usermeta_server.errors import invalid
from usermeta_server.services.encoded import Encoded, serialize
from usermeta_server.services.streams import Responses

M = TypeVar("M", bound=Message)

_UUID_LENGTH: Final = 36


class Unary(NamedTuple):
    """A method that answers once: it takes a request and its call, and returns the response."""

    handle: Callable[[bytes, Call], Awaitable[bytes]]


class Streaming(NamedTuple):
    """A method that streams: it takes where its responses go, a request and its call."""

    handle: Callable[[Responses, bytes, Call], Awaitable[None]]


Method: TypeAlias = Unary | Streaming
"""A method of a service, from the bytes of a request to those of responses."""


def snake(name: str) -> str:
    """Return the Python name of an RPC: `GetUser` is `get_user`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def methods_of(descriptor: ServiceDescriptor, service: object) -> Mapping[str, Method]:
    """Return the methods of a service by their full paths: for each RPC the one of its name in snake case.

    A method takes the request and the caller, and returns the response, as a message or `Encoded`; one that streams
    also takes what sends a response.

    Raises:
        AttributeError: the service lacks a method.
    """
    return {
        f"/{descriptor.full_name}/{method.name}": _method(method, getattr(service, snake(method.name)))
        for method in descriptor.methods
    }


def parsed(kind: Callable[[bytes], M], body: bytes) -> M:
    """Return the message of a body; `kind` is its class's `FromString`.

    Raises:
        UsermetaError: FIELD_INVALID.
    """
    try:
        return kind(body)
    except DecodeError:
        text = "the request is not a well-formed message of this method, or nests deeper than 32 levels"
        raise invalid("request", text) from None


def _method(method: MethodDescriptor, behaviour: Callable[..., Awaitable[Any]]) -> Method:
    kind: Callable[[bytes], Any] = GetMessageClass(method.input_type).FromString
    has_id = "request_id" in method.input_type.fields_by_name

    def read(body: bytes, call: Call) -> Message:
        request: Any = parsed(kind, body)
        if has_id:
            call.request_id = request.request_id[:_UUID_LENGTH]
        return request  # type: ignore[no-any-return]  # a message of that kind

    async def unary(body: bytes, call: Call) -> bytes:
        return serialize(await behaviour(read(body, call), call.caller))

    async def stream(responses: Responses, body: bytes, call: Call) -> None:
        async def send(response: Encoded[Any]) -> None:
            await responses.send(response.data)

        request = read(body, call)
        # On its own: were a stream ended while its first response is on the way, its beginning would be sent again
        # with the end, and the call would hang.
        await responses.begin()
        await behaviour(request, call.caller, send)

    return Streaming(stream) if method.server_streaming else Unary(unary)
