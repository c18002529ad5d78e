"""What proves that a view or a grant was made by the policy: no other package imports this module."""

from enum import Enum

from usermeta_server.errors import Reason, UsermetaError


class Proof(Enum):
    """The policy's signature under what it makes."""

    POLICY = "policy"


def check_proof(proof: object) -> None:
    """Check that something is made by the policy.

    Raises:
        UsermetaError: ACCESS_DENIED.
    """
    if proof is not Proof.POLICY:
        raise UsermetaError(Reason.ACCESS_DENIED)
