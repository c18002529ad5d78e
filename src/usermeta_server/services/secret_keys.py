"""Secret keys between messages and records."""

from collections.abc import Iterable, Mapping
from typing import Final

from usermeta.backend.v1 import secret_key_pb2 as pb
from usermeta_server.errors import invalid
from usermeta_server.model import Scope, SecretKey
from usermeta_server.services.messages import put_time

_SCOPES: Final[Mapping[pb.Scope.ValueType, Scope]] = {
    pb.SCOPE_READ: Scope.READ,
    pb.SCOPE_WRITE: Scope.WRITE,
    pb.SCOPE_ADMIN: Scope.ADMIN,
}
_MESSAGE_SCOPES: Final = {scope: value for value, scope in _SCOPES.items()}


def scopes_of(values: Iterable[pb.Scope.ValueType]) -> tuple[Scope, ...]:
    """Return the scopes of a request.

    Raises:
        UsermetaError: FIELD_INVALID, for none, or an unknown one.
    """
    scopes = [_SCOPES.get(value) for value in values]
    if not scopes:
        raise invalid("scopes", "at least one is required")
    known = tuple(scope for scope in scopes if scope is not None)
    if len(known) < len(scopes):
        raise invalid(f"scopes[{scopes.index(None)}]", "is not a scope")
    return known


def key_message(key: SecretKey) -> pb.SecretKey:
    """Return a key as backends see it: all but the digest of its secret."""
    message = pb.SecretKey(
        id=key.id, display_name=key.display_name, scopes=[_MESSAGE_SCOPES[scope] for scope in key.scopes]
    )
    for name in ("create_time", "expire_time", "revoke_time"):
        if microseconds := getattr(key, name):
            put_time(getattr(message, name), microseconds)
    return message
