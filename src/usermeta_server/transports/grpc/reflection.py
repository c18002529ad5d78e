"""Reflection (grpc.reflection.v1, and v1alpha, which older clients speak): the protos, for whoever asks."""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any, Final, TypeVar

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import DESCRIPTOR, ServerReflectionRequest

from usermeta_server.services.rpc import parsed
from usermeta_server.transports.grpc.handlers import Context, open_handler
from usermeta_server.transports.grpc.open_streams import OpenStreams

T = TypeVar("T")

V1ALPHA: Final = reflection.SERVICE_NAME
V1: Final = V1ALPHA.replace("v1alpha", "v1")


class Reflection:
    """The protos of some services, and of reflection itself."""

    def __init__(self, names: Iterable[str], streams: OpenStreams) -> None:
        """Tell of services by these full names; those who ask are some of `streams`."""
        pool: Any = _Pool(_with_v1(descriptor_pool.Default()))
        self._servicer: Any = reflection.aio.ReflectionServicer((*names, V1, V1ALPHA), pool=pool)
        self._streams = streams

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the handlers of both versions: they differ in nothing but their package."""
        return tuple(
            grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": self._handler(name)})
            for name in (V1, V1ALPHA)
        )

    def _handler(self, name: str) -> "grpc.RpcMethodHandler[Any, Any]":
        stream = grpc.stream_stream_rpc_method_handler
        return open_handler(f"/{name}/ServerReflectionInfo", stream, self._answer, _unread)

    async def _answer(self, requests: Any, context: Context) -> None:  # noqa: ANN401  # gRPC's iterator of requests
        with self._streams.taken():
            # gRPC's iterator refers to itself until it has ended: closed, it lets go of a call that fails.
            async with aclosing(aiter(requests)) as received:
                async for answer in self._servicer.ServerReflectionInfo(_parsed(received), context):
                    await context.write(answer)


def _unread(requests: T) -> T:
    """Return a stream of requests as it is: its iterator is made only where it is closed."""
    return requests


async def _parsed(bodies: AsyncIterator[bytes]) -> AsyncIterator[ServerReflectionRequest]:
    async for body in bodies:
        yield parsed(ServerReflectionRequest.FromString, body)


class _Pool:
    """A descriptor pool that finds what the protocol says can be asked for: methods by their full names, too."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the pool has
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802  # as the pool names it
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            found = self._pool.FindServiceByName(service)
            if method not in found.methods_by_name:
                raise
            return found.file


def _with_v1(pool: descriptor_pool.DescriptorPool) -> descriptor_pool.DescriptorPool:
    """Return a pool that has the proto of v1 as well: v1alpha's, in another package."""
    alpha, v1 = FileDescriptorProto(), FileDescriptorProto()
    DESCRIPTOR.CopyToProto(alpha)
    text_format.Parse(text_format.MessageToString(alpha).replace("v1alpha", "v1"), v1)
    v1.name = "grpc/reflection/v1/reflection.proto"
    pool.Add(v1)
    return pool
