"""What a sign-up must have before it can be completed: names of its fields, and paths into its unsafe document."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from usermeta_server.core.documents import load
from usermeta_server.core.query import parse_path
from usermeta_server.model import Document, SignUp
from usermeta_server.values import MISSING, Json, resolve

_FIELDS: Final = ("username", "email_address", "email_address_verified", "first_name", "last_name", "external_id")


class _Requirement(NamedTuple):
    name: str
    path: tuple[str, ...]


class Requirements:
    """The required fields, checked against sign-ups."""

    def __init__(self, names: Sequence[str]) -> None:
        """Require these.

        Raises:
            ValueError: one is neither a field nor a path into the unsafe document.
        """
        self._all = tuple(_Requirement(name, _checked(parse_path(name))) for name in dict.fromkeys(names))
        self.names = tuple(each.name for each in self._all)

    def missing(self, sign_up: SignUp) -> tuple[str, ...]:
        """Return the names of what a sign-up lacks.

        A value in the document counts unless it is null, false or "".
        """
        document = load(sign_up.unsafe_metadata)
        return tuple(each.name for each in self._all if not _is_given(each.path, sign_up, document))


class SignUpRules(NamedTuple):
    """The operator's settings: what is required, whether a backend must attest, how long one may be idle (µs)."""

    requirements: Requirements
    attested: bool
    idle: int


def _checked(path: tuple[str, ...]) -> tuple[str, ...]:
    if len(path) == 1 and path[0] in _FIELDS:
        return path
    if len(path) > 1 and path[0] == Document.UNSAFE:
        return path
    raise ValueError(f"'{'.'.join(path)}' is neither unsafe_metadata.PATH nor one of {', '.join(_FIELDS)}")


def _is_given(path: tuple[str, ...], sign_up: SignUp, document: Json) -> bool:
    if len(path) == 1:
        return bool(getattr(sign_up, path[0]))
    value = resolve(document, path[1:])
    return not (value is MISSING or value is None or value is False or value == "")
