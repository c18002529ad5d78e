"""The one writer: whatever waits becomes one transaction, and is acknowledged when that is durable.

While a batch is being committed the next one gathers, so that batches grow with the load by themselves and a
lone write never waits for company. The writer is a task of its own, which no caller's cancellation reaches.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final, NamedTuple, TypeVar

from usermeta_server.clock import Clock
from usermeta_server.context import carried
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.store.condition import Condition
from usermeta_server.store.contract import Committed, Draft, Mutation, Reads
from usermeta_server.store.engine import Engine
from usermeta_server.store.projections import Projections

T = TypeVar("T")

MAX_WAITING = 20_000
"""How many writes may wait before more are refused with OVERLOADED."""
MAX_BATCH = 256
"""How many writes share a transaction at the most: what bounds how long one can hold up the event loop."""
_PAGE: Final = 1000
"""Changes that are read at once after a commit of unknown outcome."""


class _Waiting(NamedTuple):
    reads: Reads
    mutation: Mutation[Any]
    dry_run: bool
    future: "asyncio.Future[Any]"


class _Step(NamedTuple):
    work: Callable[[], Awaitable[Any]]
    future: "asyncio.Future[Any]"


class _Outcome(NamedTuple):
    future: "asyncio.Future[Any]"
    result: object
    error: BaseException | None


class BatchWriter:
    """Gathers writes into batches, and commits them on an engine one after the other.

    `now` is the time of the last batch, in microseconds since the epoch: later ones are not before it.
    """

    def __init__(self, engine: Engine, projections: Projections, condition: Condition, clock: Clock) -> None:
        """Write on an engine, which projections follow, unless its condition forbids; `start` sets it to work."""
        self.now = 0
        self._engine = engine
        self._projections = projections
        self._condition = condition
        self._clock = clock
        self._uncertain = False
        self._waiting: deque[_Waiting] = deque()
        self._steps: deque[_Step] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write, on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="usermeta-writer")

    async def write(self, reads: Reads, mutation: Mutation[T], *, dry_run: bool = False) -> T:
        """Queue a mutation and wait until it is durable; see `contract.Writer.write`."""
        if self._closing:
            raise UsermetaError(Reason.SHUTTING_DOWN)
        self._condition.check()
        if len(self._waiting) >= MAX_WAITING:
            raise UsermetaError(Reason.OVERLOADED)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(reads, carried(mutation), dry_run, future))
        self._wake.set()
        return await future

    async def between_batches(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do a small step of upkeep where no transaction is open, and return what it returns.

        Between two steps a batch of writes gets its turn, so that upkeep in small steps holds up nobody.

        Raises:
            UsermetaError: STORE_UNAVAILABLE, when it fails; SHUTTING_DOWN.
        """
        if self._closing:
            raise UsermetaError(Reason.SHUTTING_DOWN)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._steps.append(_Step(work, future))
        self._wake.set()
        return await future

    async def close(self) -> None:
        """Refuse new writes and finish those that wait."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.shield(self._task)

    async def catch_up(self) -> None:
        """After a commit of unknown outcome, have the projections follow what it wrote, if it did."""
        engine, follow = self._engine, self._projections.apply
        self._projections.indexes.replace(await engine.everything("metadata_indexes"))
        while changes := await engine.changes_after(self._projections.position, _PAGE):
            follow(Committed(changes=changes))
        follow(Committed(secret_keys={key.id: key for key in await engine.everything("secret_keys")}))
        self._uncertain = False

    async def _run(self) -> None:
        while True:
            while self._waiting or self._steps:
                # Whoever was just answered, and whoever has just called, comes first: their writes join the batch.
                await asyncio.sleep(0)
                if self._waiting:
                    await self._write_batch(self._next_batch())
                if self._steps:
                    await self._do(self._steps.popleft())
            if self._closing:
                return
            self._wake.clear()
            await self._wake.wait()

    def _next_batch(self) -> list[_Waiting]:
        size = min(len(self._waiting), MAX_BATCH)
        batch = [self._waiting.popleft() for _ in range(size)]
        # A caller that went away before its turn is left out; from here on its write happens.
        return [each for each in batch if not each.future.done()]

    async def _write_batch(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        try:
            self._condition.check()
            outcomes = await self._transact(batch)
        except Exception as error:  # noqa: BLE001  # it is the callers', who get what it means for them
            refusal = self._refusal(error, "a batch of writes")
            outcomes = [_Outcome(each.future, None, replace(refusal)) for each in batch]
        for outcome in outcomes:
            _settle(outcome)

    async def _do(self, step: _Step) -> None:
        try:
            outcome = _Outcome(step.future, await step.work(), None)
        except Exception as error:  # noqa: BLE001  # as for a batch
            outcome = _Outcome(step.future, None, self._refusal(error, "upkeep"))
        _settle(outcome)

    def _refusal(self, error: Exception, what: str) -> UsermetaError:
        return error if isinstance(error, UsermetaError) else self._condition.met(error, what)

    async def _transact(self, batch: Sequence[_Waiting]) -> list[_Outcome]:
        if self._uncertain:
            await self.catch_up()
        head = await self._engine.begin()
        try:
            wall = self._clock()
            self.now = max(self.now, head.time, wall)
            draft = Draft(self.now, wall, head.version)
            await self._load(draft, [each.reads for each in batch])
            outcomes = [_apply(draft, each) for each in batch]
            if draft.dirty:
                await self._commit(draft)
        finally:
            await self._engine.end()
        return outcomes

    async def _load(self, draft: Draft, reads: Sequence[Reads]) -> None:
        for name, keys in zip(Reads._fields, zip(*reads, strict=True), strict=True):
            if not any(keys):
                continue
            table = draft.tables[name]
            wanted = table.missing(chain.from_iterable(keys))
            if name == "users" and self._engine.exclusive:
                known = self._projections.users.known(wanted)
                table.load(known, known)
                wanted = table.missing(wanted)
            if wanted:
                table.load(wanted, await self._engine.load(name, wanted))

    async def _commit(self, draft: Draft) -> None:
        """Make a draft durable, and have the projections follow.

        Here reads become linearizable: from before the commit until it has ended, the users that it changes are read
        from the engine; afterwards they are as the commit left them.
        """
        users = draft.users.changed
        try:
            with self._projections.users.writing(users):
                changes = await self._engine.apply(draft, self._projections.indexes.all)
        except BaseException:
            self._uncertain = True
            raise
        self._projections.apply(
            Committed(users, draft.secret_keys.changed, draft.metadata_indexes.changed, changes, tuple(draft.erasures))
        )


def _apply(draft: Draft, waiting: _Waiting) -> _Outcome:
    keep: Callable[[], None] = draft.discard if waiting.dry_run else draft.keep
    draft.declare(waiting.reads)
    try:
        result = waiting.mutation(draft)
    except Exception as error:  # noqa: BLE001  # it is the caller's, who gets it
        draft.discard()
        return _Outcome(waiting.future, None, error)
    keep()
    return _Outcome(waiting.future, result, None)


def _settle(outcome: _Outcome) -> None:
    if outcome.future.done():
        return
    if outcome.error is not None:
        outcome.future.set_exception(outcome.error)
    else:
        outcome.future.set_result(outcome.result)
