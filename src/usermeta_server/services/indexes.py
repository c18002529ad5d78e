"""Indexes between messages and records."""

from collections.abc import Mapping
from typing import Final

from usermeta.backend.v1.metadata_index_pb2 import MetadataIndex as MetadataIndexMessage
from usermeta_server.core.search import path_text
from usermeta_server.model import IndexState, MetadataIndex

_STATES: Final[Mapping[IndexState, MetadataIndexMessage.State.ValueType]] = {
    IndexState.BUILDING: MetadataIndexMessage.STATE_BUILDING,
    IndexState.READY: MetadataIndexMessage.STATE_READY,
}


def index_message(index: MetadataIndex) -> MetadataIndexMessage:
    """Return an index as backends see it."""
    return MetadataIndexMessage(path=path_text(index), state=_STATES[index.state])
