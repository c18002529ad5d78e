"""How handlers read requests: all fields at once, so that a refusal names every one that is bad.

What reads a field is a `Reading` until `read` carries it out, with those of all other fields of the request. So a
handler that reads fields one after the other, and would refuse the first bad one only, does not pass the type check.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar, cast, overload

from usermeta_server.errors import UsermetaError, all_of, together

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")

Reading: TypeAlias = partial[T]
"""What is to be read from a request, as a `T`."""

_also: Final[dict[Callable[..., object], Callable[..., object]]] = {}
"""For what reads a field a check that counts only when the request is refused anyway: its place is further on."""


def reading(function: Callable[P, T], also: Callable[..., object] | None = None) -> Callable[P, Reading[T]]:
    """Return a function that gives the reading of what another returns.

    Args:
        function: returns what the request holds, or refuses it, naming the fields.
        also: of the same arguments, makes a check that belongs further on in the order of checks, of something that
            can be seen already. When the request is refused in any case, what it refuses is named, too.
    """
    if also is not None:
        _also[function] = also

    # A partial of partial: what takes the arguments runs no bytecode, for every call passes here some times.
    return cast("Callable[P, Reading[T]]", partial(partial, function))


@overload
def read(a: Reading[A], /) -> tuple[A]: ...
@overload
def read(a: Reading[A], b: Reading[B], /) -> tuple[A, B]: ...
@overload
def read(a: Reading[A], b: Reading[B], c: Reading[C], /) -> tuple[A, B, C]: ...
@overload
def read(a: Reading[A], b: Reading[B], c: Reading[C], d: Reading[D], /) -> tuple[A, B, C, D]: ...
@overload
def read(a: Reading[A], b: Reading[B], c: Reading[C], d: Reading[D], e: Reading[E], /) -> tuple[A, B, C, D, E]: ...
def read(*parts: Reading[Any]) -> Sequence[Any]:
    """Return what is read from a request.

    Raises:
        UsermetaError: the first part's that is refused, with the violations of all parts.
    """
    try:
        return all_of(parts)
    except UsermetaError as error:
        further = [partial(_also[part.func], *part.args, **part.keywords) for part in parts if part.func in _also]
        if not error.violations or not further:
            raise
        raise together([error, *_refusals(further)]) from None


def _refusals(checks: Iterable[Callable[[], object]]) -> Iterator[UsermetaError]:
    for check in checks:
        try:
            check()
        except UsermetaError as error:
            yield error
