"""gRPC's handlers of methods, and how a refusal is said.

None has a deserializer: what it raised would tell the client nothing, so bodies are parsed where an error can be told.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc

from usermeta_server.admission.admission import Admission
from usermeta_server.admission.call import Call, current_call
from usermeta_server.admission.settle import CallerLeftError, has_left, settle
from usermeta_server.errors import UsermetaError
from usermeta_server.services.encoded import serialize
from usermeta_server.services.rpc import Method, Unary
from usermeta_server.services.streams import Responses
from usermeta_server.status import to_status

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Trailers: TypeAlias = tuple[tuple[str, bytes], ...]


async def abort(context: Context, code: grpc.StatusCode, text: str, trailers: Trailers = ()) -> None:
    """End a call that fails; afterwards its handler only has to return.

    gRPC keeps the exception of `abort` with the call, and raises it again itself. Its traceback is a way from the call
    to this frame and back, which would keep the call, and its place among the connection's streams, until garbage is
    looked for. Where the client has left meanwhile there is nobody to tell, and gRPC says so by an error of its own.
    """
    try:
        await context.abort(code, text, trailers)
    except (grpc.aio.AbortError, grpc.aio.InternalError) as aborted:
        aborted.__traceback__ = None


async def refuse(context: Context, error: UsermetaError) -> None:
    """End a call with an error: status, message and details."""
    status = to_status(error)
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    await abort(context, getattr(grpc.StatusCode, error.reason.status), status.message, trailers)


def peer_of(context: Context) -> str:
    """Return the address of a call's peer: gRPC says `ipv4:127.0.0.1:50051`, `ipv6:%5B::1%5D:50051`, `unix:…`."""
    kind, _, rest = context.peer().partition(":")
    return unquote(rest).rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else ""


class _Responses:
    """Where the responses of a call that streams go; gRPC says by an error of its own that a client leaves."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    async def begin(self) -> None:
        """Send the headers."""
        with _client_there():
            await self._context.send_initial_metadata(())

    async def send(self, response: bytes) -> None:
        """Send a response."""
        with _client_there():
            await self._context.write(response)


@contextmanager
def _client_there() -> Iterator[None]:
    try:
        yield
    except grpc.aio.InternalError as error:
        raise CallerLeftError from error


def handler_of(method: Method, admission: Admission) -> Handler:
    """Return the handler of a method, each of whose calls the interceptor has admitted."""
    return _unary(method.handle, admission) if isinstance(method, Unary) else _streaming(method.handle, admission)


def _unary(method: Callable[[bytes, Call], Awaitable[bytes]], admission: Admission) -> Handler:
    async def handle(body: bytes, context: Context) -> bytes | None:
        outcome = await admission.carry_out(current_call(), partial(peer_of, context), body, method)
        if isinstance(outcome, UsermetaError):
            await refuse(context, outcome)
            return None
        return outcome

    return grpc.unary_unary_rpc_method_handler(handle)


def _streaming(method: Callable[[Responses, bytes, Call], Awaitable[None]], admission: Admission) -> Handler:
    # It is a coroutine, not a generator: it writes its responses to the context, and so can tell when a client does
    # not read them.
    async def handle(body: bytes, context: Context) -> None:
        outcome = await admission.carry_out(
            current_call(), partial(peer_of, context), body, partial(method, _Responses(context))
        )
        if outcome is not None:
            await refuse(context, outcome)

    return grpc.unary_stream_rpc_method_handler(handle)


def refusal(tell: Callable[[Callable[[], str]], Awaitable[UsermetaError]]) -> Handler:
    """Return a handler that refuses a call, when `tell`, which is told how to learn its peer, says with which error.

    It takes a stream of requests, whatever the method takes: so gRPC does not wait for the body, nor read it.
    """

    async def handle(_: object, context: Context) -> None:
        await refuse(context, await tell(partial(peer_of, context)))

    return grpc.stream_unary_rpc_method_handler(handle)


def open_handler(
    method: str,
    make: Callable[..., Handler],
    behaviour: Callable[[Any, Context], Awaitable[Any]],
    parse: Callable[[Any], Any],
) -> Handler:
    """Return the handler of a method that anyone may call, with errors translated.

    `make` is gRPC's maker of a handler of its kind; `parse` makes of the bytes that came, or of their stream, what
    `behaviour` takes.
    """

    async def handle(request: object, context: Context) -> object:
        try:
            return await behaviour(parse(request), context)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # the outermost layer
            if isinstance(error, grpc.aio.InternalError) or has_left(error):
                raise asyncio.CancelledError from None
            await refuse(context, settle(error, method))
            return None

    return make(handle, None, serialize)
