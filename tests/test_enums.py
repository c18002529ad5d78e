"""The enums of the protos and those of the code are the same: reasons, statuses, states, kinds."""

from typing import Any, Final

import grpc
import pytest
from google.rpc.code_pb2 import Code

from usermeta.backend.v1 import document_pb2, metadata_index_pb2, secret_key_pb2, user_change_pb2
from usermeta.type.v1 import patch_pb2, sign_up_status_pb2
from usermeta.type.v1.error_pb2 import ErrorReason
from usermeta_server.core.documents import Op
from usermeta_server.errors import Reason, Status
from usermeta_server.model import ChangeKind, Document, IndexState, Scope, SignUpStatus


def test_every_reason_is_an_error_reason_of_the_protos_and_the_other_way_round() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118  # no mapping
    assert names - {"UNSPECIFIED"} == set(Reason.__members__)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_status_of_grpc_and_a_text(reason: Reason) -> None:
    assert grpc.StatusCode[reason.status].value[0] == Code.Value(reason.status)
    assert reason.message.endswith(".")


@pytest.mark.parametrize("status", Status)
def test_every_status_is_some_reasons(status: Status) -> None:
    assert status in {reason.status for reason in Reason}


ENUMS: Final = [
    (SignUpStatus, sign_up_status_pb2.SignUpStatus, "SIGN_UP_STATUS_"),
    (ChangeKind, user_change_pb2.UserChange.Kind, "KIND_"),
    (Scope, secret_key_pb2.Scope, "SCOPE_"),
]


@pytest.mark.parametrize(("ours", "theirs", "prefix"), ENUMS)
def test_an_enum_of_the_model_has_the_values_of_the_protos(ours: Any, theirs: Any, prefix: str) -> None:  # noqa: ANN401  # any enum
    values = {name.removeprefix(prefix): number for name, number in theirs.items()}
    assert values.pop("UNSPECIFIED") == 0
    assert {each.name: each.value for each in ours} == values


NAMED: Final = [
    ([each.name for each in Op], patch_pb2.PatchOperation.Op, "OP_"),
    ([each.name for each in IndexState], metadata_index_pb2.MetadataIndex.State, "STATE_"),
    ([each.value.upper() for each in Document], document_pb2.Document, "DOCUMENT_"),
]


@pytest.mark.parametrize(("names", "theirs", "prefix"), NAMED)
def test_an_enum_of_the_code_has_the_names_of_the_protos(names: list[str], theirs: Any, prefix: str) -> None:  # noqa: ANN401  # any enum
    assert {f"{prefix}{name}" for name in (*names, "UNSPECIFIED")} == set(theirs.keys())
