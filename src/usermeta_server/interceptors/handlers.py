"""Around every handler: errors become statuses, and the call is logged. Handlers themselves catch nothing."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from usermeta_server.audience import Caller, Principal
from usermeta_server.errors import Reason, UsermetaError, invalid
from usermeta_server.interceptors.access_log import AccessLog, EndedCall
from usermeta_server.interceptors.drain import Drain
from usermeta_server.status import internal_error, to_status

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Trailers: TypeAlias = tuple[tuple[str, bytes], ...]
log = logging.getLogger(__name__)

_CANCELLED = "CANCELLED"
_OK = "OK"
_UUID_LENGTH = 36


class _Malformed:
    """Stands for a request that could not be parsed: raising in a deserializer would tell the client nothing."""


_MALFORMED = _Malformed()


def parsing(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return a deserializer that never raises; `check_parsed` does, where an error can be told."""

    def parse(data: bytes) -> object:
        try:
            return deserialize(data)
        except DecodeError:
            return _MALFORMED

    return parse


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


def to_domain_error(error: BaseException, method: str) -> UsermetaError:
    """Return the error that a client is told; what is no error of the domain is logged under an id, and hidden.

    The error loses its traceback: frames that it passed may hold it, or a future that does, and all that a call is.
    """
    told = error
    if not isinstance(told, UsermetaError):
        told = internal_error()
        log.error("unhandled error %s in %s", told.metadata["error_id"], method, exc_info=error)
    passed: BaseException | None = error
    while passed is not None:
        passed.__traceback__ = None
        passed = passed.__cause__ or passed.__context__
    return told


def refusal(error: UsermetaError) -> Handler:
    """Return a handler that refuses at once.

    It takes a stream of requests, whatever the method takes: so gRPC does not wait for the body, nor read it.
    """

    async def handle(_: AsyncIterator[Any], context: Context) -> None:
        await refuse(context, error)

    return grpc.stream_unary_rpc_method_handler(handle)


def last_refusal(drain: Drain) -> Handler:
    """Return a handler that refuses as `refusal` does, because the server ends, when it is time to."""

    async def handle(_: AsyncIterator[Any], context: Context) -> None:
        drain.under_way += 1
        try:
            await drain.refusing()
            await refuse(context, UsermetaError(Reason.SHUTTING_DOWN))
        finally:
            drain.under_way -= 1

    return grpc.stream_unary_rpc_method_handler(handle)


def open_handler(
    method: str, make: Callable[..., Handler], behaviour: Callable[[Any, Context], Awaitable[Any]], kind: type[Message]
) -> Handler:
    """Return the handler of a method that anyone may call, with requests parsed safely and errors translated.

    `make` is gRPC's maker of a handler of its kind; requests are of the type `kind`. Where they are a stream,
    `behaviour` has to `check_parsed` each.
    """

    async def handle(request: object, context: Context) -> object:
        try:
            check_parsed(request)
            return await behaviour(request, context)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # the outermost layer
            if _is_cancelled_by_client(error):
                raise asyncio.CancelledError from None
            await refuse(context, to_domain_error(error, method))
            return None

    return make(handle, parsing(kind.FromString), _serialize)


_MAKERS: Final[Mapping[bool, Callable[..., Any]]] = {
    False: grpc.unary_unary_rpc_method_handler,
    # A handler that streams is a coroutine too: it writes its responses to the context, and so can tell when a client
    # does not read them.
    True: grpc.unary_stream_rpc_method_handler,
}


class Guard:
    """Wraps handlers."""

    def __init__(
        self,
        access_log: AccessLog,
        drain: Drain,
        current_caller: Callable[[], Caller],
        check: Callable[[Principal], None],
    ) -> None:
        """Log, count for a drain, learn who calls from `current_caller`, and `check` whether they still may."""
        self._check = check
        self._log = access_log
        self._drain = drain
        self._caller = current_caller

    def wrap(self, method: str, handler: Handler) -> Handler:
        """Return the handler of a method with requests parsed safely, errors translated, and calls logged."""
        parse = parsing(handler.request_deserializer) if handler.request_deserializer else None
        behaviour: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary
        make = _MAKERS[handler.response_streaming]
        guarded: Handler = make(self._guarded(method, behaviour), parse, handler.response_serializer)
        return guarded

    def _guarded(self, method: str, behaviour: Callable[[Any, Context], Awaitable[Any]]) -> Callable[..., Any]:
        logs_success = self._log.wants(None)
        drain = self._drain

        async def handle(request: object, context: Context) -> object:
            start = time.perf_counter_ns()
            drain.under_way += 1
            try:
                if drain.begun:
                    raise UsermetaError(Reason.SHUTTING_DOWN)  # noqa: TRY301  # told as every other error is
                self._check(self._caller().principal)
                check_parsed(request)
                response = await behaviour(request, context)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # the outermost layer
                if _is_cancelled_by_client(error):
                    self._record(method, request, start, _CANCELLED, None)
                    raise asyncio.CancelledError from None
                told = to_domain_error(error, method)
                self._record(method, request, start, told.reason.status, told.reason)
                await refuse(context, told)
                return None
            finally:
                drain.under_way -= 1
            if logs_success:
                self._record(method, request, start, _OK, None)
            return response

        return handle

    def _record(self, method: str, request: object, start: int, status: str, reason: Reason | None) -> None:
        if self._log.wants(reason):
            request_id = getattr(request, "request_id", "")[:_UUID_LENGTH]
            elapsed = time.perf_counter_ns() - start
            self._log.record(EndedCall(self._caller(), method, status, reason, elapsed, request_id))


def _serialize(response: Message) -> bytes:
    return response.SerializeToString()


def _is_cancelled_by_client(error: BaseException) -> bool:
    """Tell whether gRPC ended a call's task, or refuses to send because it is about to.

    A handler's own cancellation is a fault, and would hang the client.
    """
    if isinstance(error, grpc.aio.InternalError):
        return True
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def check_parsed(request: object) -> None:
    """Refuse what could not be parsed.

    Raises:
        UsermetaError: FIELD_INVALID.
    """
    if request is _MALFORMED:
        text = "the request is not a well-formed message of this method, or nests deeper than 32 levels"
        raise invalid("request", text)
