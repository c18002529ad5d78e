"""What proves that a view or a grant was made by the policy: no other package imports this module."""

from typing import Final, final

from usermeta_server.errors import Reason, UsermetaError


@final
class Proof:
    """The policy's signature under what it makes; there is one, compared by identity."""

    __slots__ = ()


PROOF: Final = Proof()


def check_proof(proof: Proof) -> None:
    """Check that something is made by the policy.

    Raises:
        UsermetaError: ACCESS_DENIED.
    """
    if proof is not PROOF:
        raise UsermetaError(Reason.ACCESS_DENIED)
