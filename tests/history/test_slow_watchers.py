"""A watcher that stops reading, with a real client: it costs bounded memory, and delays nobody."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import grpc

from tests.history.support import Watcher, merge, watching
from tests.support import DEADLINE, Service, serving, settings

MEBIBYTE: Final = 1 << 20
STUCK: Final = 10
WRITERS: Final = 10
WRITES: Final = 1000


def resident() -> int:
    """Return this process's memory, server and clients, in bytes."""
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) << 10


async def write_much(service: Service) -> None:
    """Write about 14 MiB of documents, by a few writers at once."""
    users = [(await service.user()).id for _ in range(WRITERS)]

    async def write(user_id: str) -> None:
        for number in range(WRITES // len(users)):
            await merge(service, user_id, private={"filler": "x" * 7000, "number": number})

    await asyncio.gather(*map(write, users))


async def test_a_watcher_that_stops_reading(tmp_path: Path) -> None:
    """It is cut off with WATCH_TOO_SLOW and its token when it reads again; it never costs what it did not read."""
    async with serving(settings(tmp_path, cache=MEBIBYTE)) as service, AsyncExitStack() as stack:
        service.server.app.hub._max_bytes = MEBIBYTE
        await write_much(service)
        # A connection each; without the probe the client's own library keeps little of what is not read.
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0))
        watchers: list[Watcher] = []
        for _ in range(STUCK):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(service.address, options=options))
            watchers.append(await stack.enter_async_context(watching(service, channel=channel)))
        (start,) = {watcher.token for watcher in watchers}
        before = resident()
        async with watching(service) as reader:
            reading = asyncio.create_task(reader.changes(WRITES + WRITERS))
            await write_much(service)
            told = await reading
        assert resident() - before < 80 * MEBIBYTE  # about 30 without them; 14 for each, twice, if it were kept
        for watcher in watchers:
            assert watcher.tokens == [start]
            refusal = await watcher.end()
            assert refusal.reason == "WATCH_TOO_SLOW"
            # What was being sent when it was cut off may still have come.
            assert refusal.metadata["resume_token"] in watcher.tokens[-2:]
        async with watching(service, resume_token=start) as again:
            resumed = await again.changes(len(told))
        assert [change.change_id for change in resumed] == [change.change_id for change in told]


async def test_a_watcher_that_stops_reading_does_not_block_the_shutdown(tmp_path: Path) -> None:
    """The server ends though it never reads: it is waited for no longer than any call, for the grace."""
    async with serving(settings(tmp_path)) as service, watching(service) as watcher:
        await write_much(service)
        await asyncio.wait_for(service.server.stop(0.1), DEADLINE)
        assert len(watcher.tokens) == 1, "it has read"
