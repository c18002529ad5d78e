"""The yardstick: a bare server on the same grpcio and the same event loop, which answers with bytes from files.

    python bench/echo.py FOLDER

Each file in the folder is a method of `echo.Echo`, and what it replies. It prints the port it listens on.
"""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import grpc
import uvloop


def answering(reply: bytes) -> Callable[[bytes, object], Awaitable[bytes]]:
    """Return a handler that always replies this."""

    async def handle(_: bytes, __: object) -> bytes:
        return reply

    return handle


async def serve(replies: Mapping[str, bytes]) -> None:
    """Serve until the process is ended."""
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        method: grpc.unary_unary_rpc_method_handler(answering(reply)) for method, reply in replies.items()
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    # As usermeta does, so that it is no advantage.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    files = {path.name: path.read_bytes() for path in Path(sys.argv[1]).iterdir()}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(files))
