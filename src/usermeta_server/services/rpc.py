"""From a service's proto descriptor to the handlers that gRPC calls."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from usermeta_server.audience import Caller, current_caller
from usermeta_server.services.encoded import serialize
from usermeta_server.services.streams import Send


def snake(name: str) -> str:
    """Return the Python name of an RPC: `GetUser` is `get_user`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def service_handler(descriptor: ServiceDescriptor, service: object) -> grpc.GenericRpcHandler:
    """Return the handlers of a service: for each RPC of the proto, the method of that name in snake case.

    A method takes the request and the caller, and returns the response, as a message or `Encoded`; one that streams
    also takes what sends a response.

    Raises:
        AttributeError: the service lacks a method.
    """
    handlers = {method.name: _handler(method, getattr(service, snake(method.name))) for method in descriptor.methods}
    return grpc.method_handlers_generic_handler(descriptor.full_name, handlers)


def _handler(method: MethodDescriptor, behaviour: Callable[..., Any]) -> "grpc.RpcMethodHandler[Any, Any]":
    parse = GetMessageClass(method.input_type).FromString
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(_streaming(behaviour), parse, serialize)
    return grpc.unary_unary_rpc_method_handler(_unary(behaviour), parse, serialize)


def _unary(behaviour: Callable[[Any, Caller], Awaitable[Any]]) -> Callable[..., Any]:
    async def handle(request: object, _: object) -> object:
        return await behaviour(request, current_caller())

    return handle


def _streaming(behaviour: Callable[[Any, Caller, Send[Any]], Awaitable[None]]) -> Callable[..., Any]:
    async def handle(request: object, context: Any) -> None:  # noqa: ANN401  # gRPC's context
        # First and on their own: were a stream ended while its first response is on the way, the headers would be sent
        # again with the status, and the call would hang.
        await context.send_initial_metadata(())
        await behaviour(request, current_caller(), context.write)

    return handle
