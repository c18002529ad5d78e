"""What callers are shown: only these functions make a `View`, without which no reply about a user can be built."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, final

from usermeta_server.caller import Caller
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Document, ShownSignUp, SignUp, User
from usermeta_server.policy.proof import PROOF, Proof, check_proof
from usermeta_server.policy.standing import admit_to_sign_up, sign_up_viewer_of, viewer_of
from usermeta_server.policy.tables import (
    DOCUMENTS,
    FIELDS,
    SIGN_UP_DOCUMENTS,
    SIGN_UP_FIELDS,
    Access,
    Viewer,
    documents_with,
)
from usermeta_server.policy.writes import WriteGrant


@final
class View:
    """What one viewer may read of one user or sign-up, by field name. Documents are canonical JSON."""

    __slots__ = ("_readers", "_record", "viewer")

    def __init__(
        self, proof: Proof, viewer: Viewer, readers: Mapping[str, Callable[[Any], object]], record: object
    ) -> None:
        """Make a view of a record through a viewer's table; only the policy has the proof."""
        check_proof(proof)
        self.viewer: Final = viewer
        self._readers: Final = readers
        self._record: Final = record

    def read(self, name: str) -> Any:  # noqa: ANN401  # of each field's own type
        """Return a field.

        Raises:
            KeyError: the viewer may not read it.
        """
        return self._readers[name](self._record)

    def read_all(self, names: Sequence[str]) -> list[object]:
        """Return fields, in the order of their names; raises as `read` does."""
        readers, record = self._readers, self._record
        return [readers[name](record) for name in names]

    @property
    def fields(self) -> Mapping[str, object]:
        """All that the viewer may read."""
        return {name: read(self._record) for name, read in self._readers.items()}


def view(caller: Caller, user: User) -> View:
    """Return what a caller may read of a user."""
    return _view(viewer_of(caller, user.id), user)


def profile(user: User) -> View:
    """Return what anyone may read of a user."""
    return _view(Viewer.ANYONE, user)


def created_user_view(caller: Caller, sign_up: SignUp, user: User) -> View:
    """Return what a caller may read of the user that a sign-up became: the holder of its token is that person.

    Raises:
        UsermetaError: ACCESS_DENIED, when the user is another, or the caller holds another token.
    """
    if sign_up_viewer_of(caller, sign_up.id) is not Viewer.SELF or sign_up.created_user_id != user.id:
        raise UsermetaError(Reason.ACCESS_DENIED)
    return _view(Viewer.SELF, user)


def sign_up_view(caller: Caller, sign_up: ShownSignUp) -> View:
    """Return what a caller may read of a sign-up.

    Raises:
        UsermetaError: ACCESS_DENIED, when the caller is no backend and does not hold it.
    """
    return _sign_up_view(admit_to_sign_up(caller, sign_up.record.id), sign_up)


def created_sign_up_view(grant: WriteGrant[SignUp], sign_up: ShownSignUp) -> View:
    """Return what may be read of a sign-up by who has just begun it, with this grant: what its holder may.

    Raises:
        UsermetaError: ACCESS_DENIED, when the grant is one to change a sign-up, not to begin one.
    """
    if grant.record_id:
        raise UsermetaError(Reason.ACCESS_DENIED)
    return _sign_up_view(Viewer.SELF, sign_up)


def _view(viewer: Viewer, user: User) -> View:
    return View(PROOF, viewer, _USER_READERS[viewer], user)


def _sign_up_view(viewer: Viewer, sign_up: ShownSignUp) -> View:
    return View(PROOF, viewer, _SIGN_UP_READERS[viewer], sign_up)


def _etags_reader(documents: tuple[Document, ...]) -> Callable[[User], Mapping[Document, str]]:
    readers = {document: attrgetter(f"{document}_etag") for document in documents}
    return lambda user: {document: read(user) for document, read in readers.items()}


def _user_readers(viewer: Viewer) -> Mapping[str, Callable[[User], object]]:
    documents = documents_with(Access.READ, DOCUMENTS[viewer])
    readers: dict[str, Callable[[User], object]] = {
        **FIELDS[viewer],
        **{document: attrgetter(document) for document in documents},
    }
    if viewer is not Viewer.ANYONE:
        readers["metadata_etags"] = _etags_reader(documents)
    return readers


_USER_READERS: Final = {viewer: _user_readers(viewer) for viewer in Viewer}
_SIGN_UP_READERS: Final[Mapping[Viewer, Mapping[str, Callable[[ShownSignUp], object]]]] = {
    viewer: {
        **SIGN_UP_FIELDS[viewer],
        **{
            document: attrgetter(f"record.{document}")
            for document in documents_with(Access.READ, SIGN_UP_DOCUMENTS[viewer])
        },
    }
    for viewer in Viewer
}
