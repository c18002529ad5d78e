"""The one writer: whatever waits becomes one transaction, and is acknowledged when that is durable.

While a batch is being committed the next one gathers, so that batches grow with the load by themselves and a
lone write never waits for company. The writer is a task of its own, which no caller's cancellation reaches.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, TypeVar

from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.store.base import Mutation, Reads, Transaction
from usermeta_server.store.condition import Condition

T = TypeVar("T")

MAX_WAITING = 20_000
"""How many writes may wait before more are refused with OVERLOADED."""
MAX_BATCH = 256
"""How many writes share a transaction at the most: what bounds how long one can hold up the event loop."""


class Engine(Protocol):
    """What an engine does for the writer. Only the writer calls it, one call at a time."""

    async def begin(self) -> Transaction:
        """Return an empty transaction after the last committed one; of a commit that failed, see how it turned out."""
        ...

    async def load(self, transaction: Transaction, reads: Sequence[Reads]) -> None:
        """Read what mutations declared into the transaction's tables, with one query a table at the most."""
        ...

    async def commit(self, transaction: Transaction) -> None:
        """Make what the tables changed durable; reads see it from now on.

        Raises:
            Exception: nothing was changed, or it is unknown whether it was.
        """
        ...


class _Waiting(NamedTuple):
    reads: Reads
    mutation: Mutation[Any]
    dry_run: bool
    future: "asyncio.Future[Any]"


class _Chore(NamedTuple):
    work: Callable[[], Awaitable[Any]]
    future: "asyncio.Future[Any]"


class _Outcome(NamedTuple):
    future: "asyncio.Future[Any]"
    result: object
    error: BaseException | None


class Writer:
    """Gathers writes into batches and runs them on an engine."""

    def __init__(self, engine: Engine, condition: Condition) -> None:
        """Make a writer, that refuses writes while the condition is not sound; `start` sets it to work."""
        self._engine = engine
        self._condition = condition
        self._waiting: deque[_Waiting] = deque()
        self._chores: deque[_Chore] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write, on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="usermeta-writer")

    async def write(self, reads: Reads, mutation: Mutation[T], *, dry_run: bool = False) -> T:
        """Queue a mutation and wait until it is durable; see `Store.write`."""
        if self._closing:
            raise UsermetaError(Reason.SHUTTING_DOWN)
        self._condition.check()
        if len(self._waiting) >= MAX_WAITING:
            raise UsermetaError(Reason.OVERLOADED)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(reads, mutation, dry_run, future))
        self._wake.set()
        return await future

    async def between_batches(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a small piece of upkeep where no transaction is open, and return what it returns.

        Between two pieces a batch of writes gets its turn, so that upkeep in small pieces holds up nobody.

        Raises:
            UsermetaError: STORE_UNAVAILABLE, when it fails; SHUTTING_DOWN.
        """
        if self._closing:
            raise UsermetaError(Reason.SHUTTING_DOWN)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._chores.append(_Chore(work, future))
        self._wake.set()
        return await future

    async def close(self) -> None:
        """Refuse new writes and finish those that wait."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        while True:
            while self._waiting or self._chores:
                if self._waiting:
                    # Whoever was just answered, and whoever has just called, comes first: their writes join the batch.
                    await asyncio.sleep(0)
                    await self._write_batch(self._next_batch())
                if self._chores:
                    await self._do(self._chores.popleft())
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
            transaction = await self._engine.begin()
            await self._engine.load(transaction, [each.reads for each in batch])
            outcomes = [_apply(transaction, each) for each in batch]
            if transaction.dirty:
                await self._engine.commit(transaction)
        except Exception as error:  # noqa: BLE001  # it is the callers', who get what it means for them
            refusal = self._refusal(error, "a batch of writes")
            outcomes = [_Outcome(each.future, None, replace(refusal)) for each in batch]
        for outcome in outcomes:
            _settle(outcome)

    async def _do(self, chore: _Chore) -> None:
        try:
            outcome = _Outcome(chore.future, await chore.work(), None)
        except Exception as error:  # noqa: BLE001  # as for a batch
            outcome = _Outcome(chore.future, None, self._refusal(error, "upkeep"))
        _settle(outcome)

    def _refusal(self, error: Exception, what: str) -> UsermetaError:
        return error if isinstance(error, UsermetaError) else self._condition.met(error, what)


def _apply(transaction: Transaction, waiting: _Waiting) -> _Outcome:
    keep: Callable[[], None] = transaction.discard if waiting.dry_run else transaction.keep
    transaction.declare(waiting.reads)
    try:
        result = waiting.mutation(transaction)
    except Exception as error:  # noqa: BLE001  # it is the caller's, who gets it
        transaction.discard()
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
