"""What one caller's flood does to another's calls: how long those take without it and with it, in the same run.

    python bench/fairness.py

One session, or one key, has many calls in flight for as long as it can; another caller makes some calls a second.
The figure is the ratio of its medians, which a slower machine does not change.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import report
from google.protobuf.struct_pb2 import NULL_VALUE
from http2 import Call, make_call
from load import Load, closed_load, open_load
from scenarios import BACKEND, FRONTEND, World, fill
from servers import Server, make_key, usermeta_server

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.type.v1.patch_pb2 import PatchOperation

USERS: Final = 20_000
_RATE: Final = 40
"""Calls a second of the one who suffers."""
_SETTLED: Final = 2.0
"""Seconds for which a flood has gone on when its victim is looked at."""


class Flood(NamedTuple):
    """A flood: its calls and how many are in flight, and the call whose caller suffers."""

    name: str
    calls: Sequence[Call]
    in_flight: int
    victim: Call


def floods(world: World, other_key: str) -> Sequence[Flood]:
    """Return what is measured."""
    flooding, suffering = world.tokens[:2]
    own = frontend_pb.GetUserRequest().SerializeToString()
    reads = make_call(f"{FRONTEND}GetUser", own, token=flooding)
    victim = make_call(f"{FRONTEND}GetUser", own, token=suffering)
    patches = make_call(f"{FRONTEND}PatchUserMetadata", _refused_patch(), token=flooding)
    heavy = pb.ListUsersRequest(filter='NOT public_metadata.nothing = "x" AND -unsafe_metadata.a.b.c:*', page_size=1000)
    indexed = pb.ListUsersRequest(filter='public_metadata.group = "g1"', page_size=10)
    return (
        Flood("a session's reads", [reads], 500, victim),
        Flood("a session's refused patches", [patches], 500, victim),
        Flood("a key's reads", [make_call(f"{BACKEND}GetUser", _get(world.users[0]), token=world.key)], 500, victim),
        Flood(
            "a key's heavy filters, indexed ListUsers of another",
            [make_call(f"{BACKEND}ListUsers", heavy.SerializeToString(), token=world.key)],
            16,
            make_call(f"{BACKEND}ListUsers", indexed.SerializeToString(), token=other_key),
        ),
    )


def _get(user_id: str) -> bytes:
    return pb.GetUserRequest(user_id=user_id).SerializeToString()


def _refused_patch() -> bytes:
    """Return a patch that does as much as one can, and fails in the end."""
    request = frontend_pb.PatchUserMetadataRequest()
    add = request.unsafe_metadata.add(op=PatchOperation.OP_ADD, path="/list")
    for number in range(400):
        add.value.list_value.values.add(number_value=number)
    for _ in range(98):
        request.unsafe_metadata.add(op=PatchOperation.OP_COPY, from_path="/list", path="/copy")
    request.unsafe_metadata.add(op=PatchOperation.OP_TEST, path="/nothing").value.null_value = NULL_VALUE
    return request.SerializeToString()


def flood_on(port: int, flood: Flood, seconds: float) -> Load:
    """Flood, in a process of its own."""
    return closed_load(port, cycle(flood.calls), flood.in_flight, seconds)


def median(server: Server, call: Call, seconds: float) -> float:
    """Return how long a call takes (seconds)."""
    load = open_load(server.port, cycle([call]), _RATE, seconds)
    assert not load.failures, load.failures
    return statistics.median(load.latencies)


def measure(server: Server, flood: Flood, seconds: float) -> tuple[str, ...]:
    """Return a row: a flood, and what became of its victim."""
    alone = median(server, flood.victim, seconds)
    with ProcessPoolExecutor(1) as pool:
        flooding = pool.submit(flood_on, server.port, flood, seconds + 2 * _SETTLED)
        time.sleep(_SETTLED)
        beside = median(server, flood.victim, seconds)
        load = flooding.result()
    ended = sum(load.failures.values()) + load.succeeded
    rows = (f"{1000 * alone:.2f}", f"{1000 * beside:.2f}", f"{beside / alone:.1f}", f"{ended / load.seconds:,.0f}")
    return (flood.name, str(flood.in_flight), *rows)


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each is looked at (5)")
    parser.add_argument("--limits", default="on,off", help="the modes of USERMETA_LIMITS to measure (on,off)")
    given = parser.parse_args()
    heads = ("flood", "in flight", "alone, ms", "beside it, ms", "ratio", "calls a second of the flood")
    for mode in given.limits.split(","):
        with TemporaryDirectory() as name:
            database = Path(name) / "usermeta.db"
            key, other = make_key(database), make_key(database)
            with usermeta_server(database, access_log="off", variant={"USERMETA_LIMITS": mode}) as server:
                world = fill(server, key, USERS, tokens=2)
                rows = [report.progress(measure(server, each, given.seconds)) for each in floods(world, other)]
        sys.stdout.write(f"\nUSERMETA_LIMITS={mode}\n\n{report.table(heads, rows)}")


if __name__ == "__main__":
    main()
