"""Reads and writes at once, over a real channel: for each user there is one order that explains all that callers saw.

Each user has a counter that is only ever incremented, so that every state has a number of its own, and the order that
explains a history is that of the numbers. It does if no call returns less than one that had ended before it began, an
increment returns more than that, and no read returns an increment that had not begun.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.rpc.users import Subject
from tests.support import Service, document, increment, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb

USERS: Final = 6
CALLERS: Final = 24
CALLS: Final = 60
CACHES: Final = {"no cache": 0, "room for two users": 5_000, "room for all": 1 << 20}
"""Bytes for users at hand and for replies."""


class Seen(NamedTuple):
    """A call that ended: whether it wrote, which count it returned, and when it began and ended (numbers of events)."""

    wrote: bool
    count: int
    began: int
    ended: int
