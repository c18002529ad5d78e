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
    """A response cannot be sent, for the caller is gone: the transport is about to end the call's task."""


def is_cancelled_by_caller(error: BaseException) -> bool:
    """Tell whether the transport ended a call's task, or is about to.

    A cancellation that its handler raised is a fault of ours.
    """
    if isinstance(error, CallerLeftError):
        return True
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
