"""Secret keys between messages and records."""

from collections.abc import Collection, Mapping
from typing import Final

from usermeta.backend.v1 import secret_key_pb2 as pb
from usermeta_server.core.secret_keys import check_display_name
from usermeta_server.errors import invalid
from usermeta_server.model import Scope, SecretKey
from usermeta_server.services.messages import put_time
from usermeta_server.services.reading import reading
from usermeta_server.services.requests import enum_values

_SCOPES: Final[Mapping[pb.Scope.ValueType, Scope]] = {
    pb.SCOPE_READ: Scope.READ,
    pb.SCOPE_WRITE: Scope.WRITE,
    pb.SCOPE_ADMIN: Scope.ADMIN,
}
_MESSAGE_SCOPES: Final = {scope: value for value, scope in _SCOPES.items()}


@reading
def key_name_of(display_name: str) -> str:
    """Return the name of a new key; raises as `check_display_name` does."""
    check_display_name(display_name)
    return display_name


@reading
def scopes_of(values: Collection[pb.Scope.ValueType]) -> tuple[Scope, ...]:
    """Return the scopes of a request.

    Raises:
        UsermetaError: FIELD_INVALID, for none, or unknown ones.
    """
    if not values:
        raise invalid("scopes", "at least one is required")
    return enum_values(values, _SCOPES, "scopes", "is not a scope")


def key_message(key: SecretKey) -> pb.SecretKey:
    """Return a key as backends see it: all but the digest of its secret."""
    message = pb.SecretKey(
        id=key.id, display_name=key.display_name, scopes=[_MESSAGE_SCOPES[scope] for scope in key.scopes]
    )
    for name in ("create_time", "expire_time", "revoke_time"):
        if microseconds := getattr(key, name):
            put_time(getattr(message, name), microseconds)
    return message
