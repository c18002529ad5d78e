"""The pure document engine: JSON documents merged, patched, checked and written, without any input or output."""

from usermeta_server.core.documents.canonical import (
    MAX_NUMBER,
    dump,
    equal,
    load,
    normal_form,
    normal_number,
)
from usermeta_server.core.documents.json_patch import Patch, Step, apply_patch, step_of
from usermeta_server.core.documents.limits import Limits, check_representable, seal, seal_all
from usermeta_server.core.documents.merge_patch import merge_patch
from usermeta_server.core.documents.operations import MAX_OPERATIONS, Op, Operation

__all__ = [
    "MAX_NUMBER",
    "MAX_OPERATIONS",
    "Limits",
    "Op",
    "Operation",
    "Patch",
    "Step",
    "apply_patch",
    "check_representable",
    "dump",
    "equal",
    "load",
    "merge_patch",
    "normal_form",
    "normal_number",
    "seal",
    "seal_all",
    "step_of",
]
