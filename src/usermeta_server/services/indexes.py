"""Indexes between messages and records."""

from collections.abc import Mapping
from typing import Final

from usermeta.backend.v1.metadata_index_pb2 import MetadataIndex as MetadataIndexMessage
from usermeta_server.core.query import parse_index_path
from usermeta_server.core.search import path_text
from usermeta_server.errors import invalid
from usermeta_server.model import IndexState, MetadataIndex
from usermeta_server.services.reading import reading
from usermeta_server.store.predicates import DocumentPath

_STATES: Final[Mapping[IndexState, MetadataIndexMessage.State.ValueType]] = {
    IndexState.BUILDING: MetadataIndexMessage.STATE_BUILDING,
    IndexState.READY: MetadataIndexMessage.STATE_READY,
}


@reading
def index_path_of(path: str) -> DocumentPath:
    """Return the path of an index.

    Raises:
        UsermetaError: FIELD_INVALID, for none, or what is no path in a document.
    """
    if not path:
        raise invalid("path", "is required")
    return parse_index_path(path)


def index_message(index: MetadataIndex) -> MetadataIndexMessage:
    """Return an index as backends see it."""
    return MetadataIndexMessage(path=path_text(index), state=_STATES[index.state])
