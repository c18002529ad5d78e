"""What callers may write: only these functions make a `WriteGrant`, without which nothing can be written.

A use case asks for a grant of the names that a request would write before it looks at anything; with the values, once
it has them, the grant becomes an `AllowedWrite`. What a caller may not write itself, but follows from what it writes or
from who it is, has a function of its own.
"""

from collections.abc import Collection, Mapping
from typing import Final, Generic, TypeVar, final

from usermeta_server.caller import Audience, Caller, Identity
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import SignUp, User
from usermeta_server.policy.methods import BEGINNERS
from usermeta_server.policy.proof import PROOF, Proof, check_proof
from usermeta_server.policy.standing import admit_to_sign_up, viewer_of
from usermeta_server.policy.tables import COPIED, SIGN_UP_WRITABLE, WRITABLE, Viewer
from usermeta_server.unicode import fold_email_address

R = TypeVar("R", User, SignUp)


@final
class WriteGrant(Generic[R]):
    """The policy's word that a caller may write these fields and documents of one user, or of one sign-up.

    `record_id` is whose they are, empty for one that is yet to be made; `R` is what it is.
    """

    __slots__ = ("names", "record_id")

    def __init__(self, proof: Proof, record_id: str, names: frozenset[str]) -> None:
        """Make a grant; only the policy has the proof."""
        check_proof(proof)
        self.record_id: Final = record_id
        self.names: Final = names


@final
class AllowedWrite(Generic[R]):
    """New values of fields and documents (canonical JSON), of one user or one sign-up, that the policy allowed.

    `record_id` is whose they are, empty for one that is yet to be made; `R` is what it is.
    """

    __slots__ = ("record_id", "values")

    def __init__(self, grant: WriteGrant[R], values: Mapping[str, str | bool]) -> None:
        """Write these values with a grant.

        Raises:
            UsermetaError: ACCESS_DENIED, when one of them was not granted.
        """
        if not grant.names.issuperset(values):
            raise UsermetaError(Reason.ACCESS_DENIED)
        self.record_id: Final = grant.record_id
        self.values: Final[Mapping[str, str | bool]] = dict(values)

    def values_for(self, record_id: str) -> Mapping[str, str | bool]:
        """Return the new values, for the record that they were allowed for: an id, or empty for a new one.

        Raises:
            UsermetaError: ACCESS_DENIED, when they were allowed for another.
        """
        if self.record_id != record_id:
            raise UsermetaError(Reason.ACCESS_DENIED)
        return self.values


def grant_write(caller: Caller, user_id: str, names: Collection[str]) -> WriteGrant[User]:
    """Allow a caller to write fields and documents of a user; without an id of one that it makes, as backends may.

    Raises:
        UsermetaError: ACCESS_DENIED, when the tables do not let this caller write every one of them.
    """
    return WriteGrant(PROOF, user_id, _allowed(WRITABLE[viewer_of(caller, user_id)], names))


def grant_sign_up_write(caller: Caller, sign_up_id: str, names: Collection[str]) -> WriteGrant[SignUp]:
    """Allow a caller to write fields and documents of a sign-up.

    Raises:
        UsermetaError: ACCESS_DENIED, when the tables do not let this caller write every one of them.
    """
    return WriteGrant(PROOF, sign_up_id, _allowed(SIGN_UP_WRITABLE[admit_to_sign_up(caller, sign_up_id)], names))


def grant_sign_up(caller: Caller, names: Collection[str]) -> WriteGrant[SignUp]:
    """Allow a caller to begin a sign-up with fields and documents: those that its holder may write.

    Raises:
        UsermetaError: ACCESS_DENIED, when the caller may not begin one, or its holder may not write every one of them.
    """
    if caller.audience is not Audience.FRONTEND or caller.principal.kind not in BEGINNERS:
        raise UsermetaError(Reason.ACCESS_DENIED)
    return WriteGrant(PROOF, "", _allowed(SIGN_UP_WRITABLE[Viewer.SELF], names))


def withdraw_verification(write: AllowedWrite[R], address: str) -> AllowedWrite[R]:
    """Return a write by which another email address than the present one is not verified, unless it says otherwise.

    So whoever may give another address makes it unverified, also who may not write whether it is.
    """
    values = write.values
    if fold_email_address(str(values.get("email_address", address))) == fold_email_address(address):
        return write
    return _following(write.record_id, {"email_address_verified": False, **values})


def vouched_for(write: AllowedWrite[SignUp], identity: Identity) -> AllowedWrite[SignUp]:
    """Return the write that begins a sign-up with what a trusted issuer says of the person.

    That is who they are, their email address unless the write gives another, and whether the address is verified.
    """
    values, said = write.values_for(""), identity.email_address
    address = str(values.get("email_address", said))
    verified = (
        identity.email_address_verified and bool(said) and fold_email_address(address) == fold_email_address(said)
    )
    vouched: Mapping[str, str | bool] = {
        "external_id": identity.external_id,
        "email_address": address,
        "email_address_verified": verified,
    }
    return _following("", {**values, **vouched})


def completion_of(caller: Caller, sign_up: SignUp) -> AllowedWrite[User]:
    """Return the write that makes a user of a sign-up: the copy of what it has.

    Raises:
        UsermetaError: ACCESS_DENIED, when the caller is no backend and does not hold it.
    """
    admit_to_sign_up(caller, sign_up.id)
    return _following("", {name: getattr(sign_up, name) for name in COPIED})


def _following(record_id: str, values: Mapping[str, str | bool]) -> AllowedWrite[R]:
    """Return a write of values that follow from what was granted."""
    return AllowedWrite(WriteGrant(PROOF, record_id, frozenset(values)), values)


def _allowed(writable: frozenset[str], names: Collection[str]) -> frozenset[str]:
    if not writable or not writable.issuperset(names):
        raise UsermetaError(Reason.ACCESS_DENIED)
    return frozenset(names)
