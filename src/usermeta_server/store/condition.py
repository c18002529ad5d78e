"""The condition of a store: whether it takes writes, and if not, for which cause.

An engine says what its errors mean (`CauseOf`). From the first failure on writes are refused at once, until the store
has seen for itself that they work again. A cause is logged when it begins and when it ends, not for each call.
"""

import logging
import time
from collections.abc import Callable
from enum import Enum, unique
from typing import Final, TypeAlias

from usermeta_server.errors import Reason, UsermetaError

log = logging.getLogger(__name__)


@unique
class Cause(Enum):
    """Why a store takes no writes: the text for callers and operators. The later, the graver."""

    LOCKED = "Another process holds the database's lock: retry later."
    DISK_FULL = "The database's disk is full: it takes writes again when there is room."
    IO_ERROR = "The database's disk fails: it takes writes again when that works and the database was checked."
    REPLACED = "The database's files were replaced or removed while they were open: it takes no more writes."
    DAMAGED = "The database is damaged: restore a backup."

    @property
    def label(self) -> str:
        """The word for programs to read: `disk_full`."""
        return self.name.lower()


CauseOf: TypeAlias = Callable[[Exception], Cause | None]
"""Tells what an engine's error says of its store; `None` when it is about something else."""

ConditionListener: TypeAlias = Callable[[Cause | None], None]

_GRAVITY: Final = {cause: gravity for gravity, cause in enumerate(Cause)}
_FINAL: Final = frozenset({Cause.REPLACED, Cause.DAMAGED})


class Condition:
    """Begins sound; the graver cause counts, and the final ones do not end while the store is open."""

    def __init__(self, cause_of: CauseOf) -> None:
        """Judge errors by what the engine says of them."""
        self.cause: Cause | None = None
        self._cause_of = cause_of
        self._since = 0.0
        self._listeners: list[ConditionListener] = []

    @property
    def is_final(self) -> bool:
        """Whether only an operator can mend it."""
        return self.cause in _FINAL

    def subscribe(self, listener: ConditionListener) -> None:
        """Tell a listener of every change of the cause; `None` is a store that takes writes."""
        self._listeners.append(listener)

    def check(self) -> None:
        """Refuse a write while writes fail.

        Raises:
            UsermetaError: STORE_UNAVAILABLE.
        """
        if self.cause is not None:
            raise unavailable(self.cause)

    def met(self, error: Exception, what: str) -> UsermetaError:
        """Take note of an error that the engine met in doing something, and return what its callers are told."""
        cause = self._cause_of(error)
        if cause is None:
            log.error("%s failed", what, exc_info=error)
            return UsermetaError(Reason.STORE_UNAVAILABLE)
        if self.cause is None or _GRAVITY[cause] > _GRAVITY[self.cause]:
            log.error("%s failed; the store takes no writes (%s): %s (%s)", what, cause.label, cause.value, error)
            self._since = self._since if self.cause else time.monotonic()
            self._become(cause)
        return unavailable(cause)

    def recover(self) -> None:
        """Take note that writes work again."""
        if self.cause is not None and not self.is_final:
            log.warning("the store takes writes again, after %.1f s", time.monotonic() - self._since)
            self._become(None)

    def _become(self, cause: Cause | None) -> None:
        self.cause = cause
        for listener in self._listeners:
            listener(cause)


def unavailable(cause: Cause) -> UsermetaError:
    """Return what callers are told for a cause, which is in the metadata too."""
    return UsermetaError(Reason.STORE_UNAVAILABLE, cause.value, {"cause": cause.label})
