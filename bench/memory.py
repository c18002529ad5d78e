"""How much memory users and connections take."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import report
from http2 import Call, Connection
from load import counted_load
from results import Memory
from scenarios import GET_USER, echoed, fill, get_user_calls
from servers import Server, echo_server, make_key, usermeta_server

COUNT: Final = 10_000


@contextmanager
def connected(port: int, calls: Sequence[Call]) -> Iterator[None]:
    """Hold one connection for each call, on which it was made."""
    with ExitStack() as stack:
        for call in calls:
            connection = Connection(port)
            stack.callback(connection.close)
            connection.put(call)
            connection.flush()
            while not list(connection.receive()):
                connection.flush()
        yield


def measure_memory(folder: Path, replies: Mapping[str, bytes]) -> Sequence[Memory]:
    """Measure both servers anew started, usermeta on a store of 10,000 users."""
    database = folder / "memory.db"
    key = make_key(database)
    with usermeta_server(database) as server:
        world = fill(server, key, COUNT, tokens=0)
    calls = get_user_calls(world)
    with usermeta_server(database) as server:
        ours = _measure("usermeta", server, calls)
    with echo_server({GET_USER.method: replies[GET_USER.method]}, folder / "one-reply") as server:
        echo = _measure("echo", server, echoed(GET_USER, calls))
    return [report.progress(each) for each in (echo, ours)]


def _measure(name: str, server: Server, calls: Sequence[Call]) -> Memory:
    rest = server.memory()
    load = counted_load(server.port, iter(calls), 64, len(calls))
    assert load.succeeded == len(calls), load.failures
    read = server.memory()
    with connected(server.port, calls):
        return Memory(name, rest, read - rest, server.memory() - read)
