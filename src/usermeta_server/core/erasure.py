"""What is forgotten with a user, and with an identity that is a user's no more: the rule; a store carries it out."""

from usermeta_server.model import User
from usermeta_server.store.contract import Erasure


def of_user(user: User, version: int) -> Erasure:
    """Return what goes when a user is erased by the change of this version.

    Its history is emptied and so are its sign-ups; sign-ups that were begun under its identity go, for they would bring
    it back; requests that name it are forgotten, and those that it made itself, by whichever credential.
    """
    identity = (f"identity:{user.external_id}",) if user.external_id else ()
    return Erasure(version, user, user.external_id, (f"user:{user.id}", *identity))


def of_identity(external_id: str, version: int) -> Erasure:
    """Return what goes when an external id is a user's no more, by the change of this version: what it asked for."""
    return Erasure(version, None, "", (f"identity:{external_id}",))
