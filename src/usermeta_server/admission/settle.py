"""What a caller is told of a call that failed."""

import asyncio
import logging
import uuid

from usermeta_server.errors import Reason, UsermetaError

log = logging.getLogger(__name__)


def settle(error: BaseException, method: str) -> UsermetaError:
    """Return the error that a caller is told; what is no error of the domain is logged under an id, and hidden.

    The error loses its traceback: frames that it passed may hold it, or a future that does, and all that a call is.
    """
    told = error
    if not isinstance(told, UsermetaError):
        told = UsermetaError(Reason.INTERNAL, metadata={"error_id": uuid.uuid4().hex})
        log.error("unhandled error %s in %s", told.metadata["error_id"], method, exc_info=error)
    passed: BaseException | None = error
    while passed is not None:
        passed.__traceback__ = None
        passed = passed.__cause__ or passed.__context__
    return told


class CallerLeftError(Exception):
    """A transport cannot send to a caller any more, and is about to cancel the call."""


def has_left(error: BaseException) -> bool:
    """Tell whether an error means that the caller has left; a cancellation that a handler raised is a fault of ours."""
    if isinstance(error, CallerLeftError):
        return True
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
