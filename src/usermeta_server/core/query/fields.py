"""What of a user can be compared and ordered: the scalar fields with their types, and the three documents."""

from collections.abc import Mapping, Sequence
from enum import Enum, unique
from typing import Final, NamedTuple

from usermeta_server.core.query.lexer import Flaw
from usermeta_server.core.query.tree import Path
from usermeta_server.model import Document, IdentifierKind
from usermeta_server.store.predicates import FOLDS, DocumentPath, Field, Target
from usermeta_server.unicode import fold

MAX_KEYS: Final = 32
"""How many keys a path in a document may have: more than a document can nest."""


@unique
class FieldType(Enum):
    """The type of a scalar field; the value says what it is compared with."""

    TEXT = "a string"
    BOOLEAN = "true or false"
    TIME = "a quoted time (RFC 3339)"


class ScalarField(NamedTuple):
    """A scalar field: what a store calls it, and its type."""

    field: Field
    type: FieldType


def _field(name: str, field_type: FieldType = FieldType.TEXT) -> ScalarField:
    return ScalarField(Field(name), field_type)


FIELDS: Final[Mapping[Sequence[str], ScalarField]] = {
    ("id",): _field("id"),
    **{(str(kind),): ScalarField(Field(kind.value, FOLDS.get(kind)), FieldType.TEXT) for kind in IdentifierKind},
    ("email_address_verified",): _field("email_address_verified", FieldType.BOOLEAN),
    ("first_name",): _field("first_name"),
    ("last_name",): _field("last_name"),
    ("image_url",): _field("image_url"),
    ("etag",): _field("etag"),
    ("banned",): _field("banned", FieldType.BOOLEAN),
    ("create_time",): _field("create_time", FieldType.TIME),
    ("update_time",): _field("update_time", FieldType.TIME),
    **{("metadata_etags", str(document)): _field(f"{document}_etag") for document in Document},
}
"""Every scalar field of a user, by its path. Text that is unset is the empty string."""

WORD_FIELDS: Final = (
    *(Field(kind.value, kind_fold) for kind, kind_fold in FOLDS.items()),
    *(Field(name, fold) for name in ("first_name", "last_name")),
)
"""The fields whose beginning a bare word matches."""

DOCUMENTS: Final = frozenset(Document)


def target_of(path: Path) -> ScalarField | DocumentPath:
    """Return what a path names.

    Raises:
        Flaw: it names nothing of a user.
    """
    root, *keys = path.segments
    if root not in DOCUMENTS:
        if path.segments in FIELDS:
            return FIELDS[path.segments]
        raise Flaw(path.position, f"there is no field '{'.'.join(path.segments)}'")
    if len(keys) > MAX_KEYS:
        raise Flaw(path.position, f"the path has {len(keys)} keys; at most {MAX_KEYS} are allowed")
    return DocumentPath(Document(root), tuple(keys))


def order_target_of(path: Path) -> Target:
    """Return what a path names that users can be ordered by.

    Raises:
        Flaw: it names nothing of a user, or a whole document.
    """
    target = target_of(path)
    if isinstance(target, ScalarField):
        return target.field
    if not target.keys:
        raise Flaw(path.position, f"expected a path in the document '{target.document}', not the document itself")
    return target
