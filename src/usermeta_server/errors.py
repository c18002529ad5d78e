"""Domain errors: one exception, one enum of reasons, one catalogue that says what each means.

Nothing here knows gRPC. The catalogue names a canonical status (AIP-193) for every reason;
`status.py` is the one place that turns it into a status on the wire.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum, StrEnum, unique
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


@unique
class Status(StrEnum):
    """The canonical statuses that a usermeta error can have, by their gRPC names."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    UNAUTHENTICATED = "UNAUTHENTICATED"


@unique
class Reason(Enum):
    """Why a call was refused: the `reason` of its ErrorInfo, with status and text.

    The value is `(status, message)`; the message is what a client reads when the raiser
    says nothing more exact. Each name is a value of `usermeta.type.v1.ErrorReason`, too.
    """

    CREDENTIAL_MISSING = (Status.UNAUTHENTICATED, "This method needs a credential: send 'authorization: Bearer …'.")
    CREDENTIAL_INVALID = (Status.UNAUTHENTICATED, "The credential is not valid for this service.")
    CREDENTIAL_EXPIRED = (Status.UNAUTHENTICATED, "The credential has expired.")

    ACCESS_DENIED = (Status.PERMISSION_DENIED, "This caller may not do this.")
    SCOPE_INSUFFICIENT = (Status.PERMISSION_DENIED, "The secret key lacks the scope that this method needs.")
    USER_BANNED = (Status.PERMISSION_DENIED, "The user is banned.")

    FIELD_INVALID = (Status.INVALID_ARGUMENT, "A field of the request is not valid.")
    METADATA_TOO_LARGE = (Status.INVALID_ARGUMENT, "The document would be larger than allowed.")
    METADATA_TOO_DEEP = (Status.INVALID_ARGUMENT, "The document would be nested deeper than allowed.")
    METADATA_KEY_INVALID = (Status.INVALID_ARGUMENT, "A key of the document is not allowed.")
    METADATA_STRING_INVALID = (Status.INVALID_ARGUMENT, "A string of the document holds U+0000.")
    NUMBER_NOT_REPRESENTABLE = (Status.INVALID_ARGUMENT, "A number cannot be kept without changing it.")
    PATCH_INVALID = (Status.INVALID_ARGUMENT, "The patch is not well formed.")
    FILTER_INVALID = (Status.INVALID_ARGUMENT, "The filter is not valid.")
    ORDER_INVALID = (Status.INVALID_ARGUMENT, "The order_by is not valid.")
    RESUME_TOKEN_INVALID = (Status.INVALID_ARGUMENT, "The resume token is not one of this watch.")
    PAGE_TOKEN_INVALID = (Status.INVALID_ARGUMENT, "The page token is not one of this list.")
    REQUEST_ID_REUSED = (Status.INVALID_ARGUMENT, "The request_id was used before, with another request.")

    USER_NOT_FOUND = (Status.NOT_FOUND, "There is no such user.")
    SECRET_KEY_NOT_FOUND = (Status.NOT_FOUND, "There is no such secret key.")

    METADATA_INDEX_NOT_FOUND = (Status.NOT_FOUND, "There is no such index.")
    CHANGE_NOT_FOUND = (Status.NOT_FOUND, "There is no such change of this user.")
    SIGN_UP_NOT_FOUND = (Status.NOT_FOUND, "There is no such sign-up.")

    IDENTIFIER_TAKEN = (Status.ALREADY_EXISTS, "The identifier belongs to another user.")

    PATCH_TEST_FAILED = (Status.FAILED_PRECONDITION, "A test operation of the patch failed.")
    PATCH_PATH_MISSING = (Status.FAILED_PRECONDITION, "A path of the patch does not exist in the document.")
    PATCH_TYPE_MISMATCH = (Status.FAILED_PRECONDITION, "An operation met a value of a type that it does not work on.")

    INDEX_REQUIRED = (Status.FAILED_PRECONDITION, "Finding these users without an index takes too long.")
    SIGN_UP_INCOMPLETE = (Status.FAILED_PRECONDITION, "The sign-up lacks something that it must have.")
    SIGN_UP_NOT_ATTESTED = (Status.FAILED_PRECONDITION, "Only a backend can complete this sign-up.")
    SIGN_UP_CLOSED = (Status.FAILED_PRECONDITION, "The sign-up is closed.")
    LAST_ADMIN_KEY = (
        Status.FAILED_PRECONDITION,
        "No other admin key stays for good: make one that does not expire, then revoke this one.",
    )

    ETAG_MISMATCH = (Status.ABORTED, "The document was changed by someone else: read it again and retry.")

    RESUME_TOKEN_EXPIRED = (
        Status.OUT_OF_RANGE,
        "What follows the resume token is no longer kept: take a snapshot, and watch from there.",
    )

    RATE_LIMITED = (Status.RESOURCE_EXHAUSTED, "There are too many calls of this caller: retry later.")
    WATCH_TOO_SLOW = (Status.RESOURCE_EXHAUSTED, "The watcher does not keep up: go on from its resume token.")

    OVERLOADED = (Status.UNAVAILABLE, "The server has more work than it can take: retry later.")
    STORE_UNAVAILABLE = (Status.UNAVAILABLE, "The store cannot be reached: retry later.")
    SHUTTING_DOWN = (Status.UNAVAILABLE, "The server is shutting down: retry on another connection.")

    INTERNAL = (Status.INTERNAL, "Internal error.")

    @property
    def status(self) -> Status:
        """The canonical status of this reason."""
        return self.value[0]

    @property
    def message(self) -> str:
        """The text that a client reads when the raiser gave none."""
        return self.value[1]


RETRY_AFTER: Final[Mapping[Reason, float]] = {Reason.OVERLOADED: 1.0}
"""After how many seconds a call that was refused for a reason may be made again, where the raiser does not say."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One bad field of a request: its path in the request (proto field names), what is wrong, and the reason."""

    field: str
    description: str
    reason: Reason


@dataclass(eq=False)
class UsermetaError(Exception):
    """The one exception of the domain: a reason, a text, and the parts that vary.

    `metadata` becomes ErrorInfo.metadata (AIP-193: every value that the message varies in);
    `violations` become BadRequest.field_violations; `retry_after` (seconds, 0 is unset) becomes RetryInfo.retry_delay:
    the call did nothing, and may be made again after that time. Left unset, it is what `RETRY_AFTER` says.
    """

    reason: Reason
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    retry_after: float = 0

    def __post_init__(self) -> None:
        """Fill in the catalogue's text, so that the message is never empty, and its time to wait."""
        self.message = self.message or self.reason.message
        self.retry_after = self.retry_after or RETRY_AFTER.get(self.reason, 0)

    def __str__(self) -> str:
        """Return the reason and the message, for logs and test failures."""
        return f"{self.reason.name}: {self.message}"

    def within(self, prefix: str) -> "UsermetaError":
        """Return this error with its fields moved below `prefix`, say `requests[3]` or `user`, in its message too."""
        moved = (
            {**self.metadata, "field": f"{prefix}.{self.metadata['field']}"}
            if "field" in self.metadata
            else self.metadata
        )
        violations = tuple(replace(each, field=f"{prefix}.{each.field}") for each in self.violations)
        names_its_field = self.violations and self.message.startswith(f"{self.violations[0].field}: ")
        message = f"{prefix}.{self.message}" if names_its_field else self.message
        return replace(self, message=message, metadata=moved, violations=violations)

    def of_item(self, index: int) -> "UsermetaError":
        """Return this error as one item's of a batch: with its `index`, and its fields below `requests[index]`."""
        moved = self.within(f"requests[{index}]")
        return replace(moved, metadata={**moved.metadata, "index": str(index)})


def invalid(
    field_path: str, description: str, *, reason: Reason = Reason.FIELD_INVALID, **metadata: object
) -> UsermetaError:
    """Make the error for one bad field: its path in the request and what is wrong with it."""
    return UsermetaError(
        reason,
        f"{field_path}: {description}",
        {"field": field_path, **{key: str(value) for key, value in metadata.items()}},
        (Violation(field_path, description, reason),),
    )


def together(errors: Sequence[UsermetaError]) -> UsermetaError:
    """Return the first of some errors, at least one, with the violations of all: every bad field is named at once."""
    violations = dict.fromkeys(violation for each in errors for violation in each.violations)
    return replace(errors[0], violations=tuple(violations))


def all_of(parts: Iterable[Callable[[], T]]) -> list[T]:
    """Return what each of some functions returns.

    Raises:
        UsermetaError: the first one's that failed on a field, with the violations of all that did.
    """
    results, failed = [], []
    for part in parts:
        try:
            results.append(part())
        except UsermetaError as error:
            failed.append(_of_fields(error))
    if failed:
        raise together(failed)
    return results


def each_of(function: Callable[[K, V], T], members: Mapping[K, V]) -> dict[K, T]:
    """Return what a function makes of each member of a mapping, by its key; raises as `all_of` does."""
    results, failed = {}, []
    for key, value in members.items():
        try:
            results[key] = function(key, value)
        except UsermetaError as error:
            failed.append(_of_fields(error))
    if failed:
        raise together(failed)
    return results


def _of_fields(error: UsermetaError) -> UsermetaError:
    """Return an error of fields to keep, raise any other again.

    It is a copy without a traceback: that would hold the frame that keeps the error, and so be a reference cycle.
    """
    if not error.violations:
        raise error
    return replace(error)


@unique
class ExitCode(IntEnum):
    """How a command ends; 0 is well."""

    FAULT = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNREACHABLE = 5
    BROKEN_OFF = 130


class OperatorError(Exception):
    """Something that whoever runs the server or a command has to mend: a setting, an argument, a file.

    The text is for them to read. Its subclasses say how a command that it ends exits.
    """

    exit_code: ExitCode = ExitCode.USAGE


class UnreachableError(OperatorError):
    """A server or a database that cannot be used now, though it was named rightly."""

    exit_code = ExitCode.UNREACHABLE


class RefusedError(OperatorError):
    """Something was not done, because what it was to be done to does not allow it."""

    exit_code = ExitCode.REFUSED
