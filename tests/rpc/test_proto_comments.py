"""The comments of the protos: whoever writes a client reads nothing else."""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.support import DEADLINE
from usermeta_server.errors import Reason, Status


@cache
def sources() -> FileDescriptorSet:
    """Return our protos with their comments, compiled by the buf that is installed beside Python."""
    buf = Path(sys.executable).with_name("buf")
    command = [str(buf), "build", "protos", "--exclude-imports", "--as-file-descriptor-set", "-o", "-#format=binpb"]
    root = Path(__file__).parents[2]
    built = subprocess.run(command, cwd=root, capture_output=True, check=True, timeout=DEADLINE)  # noqa: S603  # no shell
    return FileDescriptorSet.FromString(built.stdout)


def elements(kinds: Iterable[tuple[int, Any]], path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Yield what is declared in lists of declarations, with its path in the file's source info."""
    for number, declared in kinds:
        for index, each in enumerate(declared):
            here = (*path, number, index)
            yield here, each
            yield from elements(_inside(each), here)


def _inside(each: Any) -> list[tuple[int, Any]]:  # noqa: ANN401  # any of the descriptors' messages
    match type(each).__name__:
        case "DescriptorProto":
            oneofs = [oneof for oneof in each.oneof_decl if not oneof.name.startswith("_")]
            return [(2, each.field), (3, each.nested_type), (4, each.enum_type), (8, oneofs)]
        case "EnumDescriptorProto":
            return [(2, each.value)]
        case "ServiceDescriptorProto":
            return [(2, each.method)]
        case _:
            return []


def comments() -> dict[str, str]:
    """Return the leading comment of everything that our protos declare, by file and name."""
    found: dict[str, str] = {}
    for file in sources().file:
        leading = {tuple(each.path): each.leading_comments for each in file.source_code_info.location}
        for path, each in elements([(4, file.message_type), (5, file.enum_type), (6, file.service)]):
            found[f"{file.name} {'.'.join(map(str, path))} {each.name}"] = leading.get(path, "")
    return found


def test_everything_in_the_protos_has_a_leading_comment() -> None:
    assert len(comments()) > 200
    assert not [name for name, comment in comments().items() if not comment.strip()]


def test_the_status_that_the_protos_document_for_a_reason_is_the_one_that_is_sent() -> None:
    documented = {
        name.rpartition("ERROR_REASON_")[2]: comment.strip().split(":")[0]
        for name, comment in comments().items()
        if "ERROR_REASON_" in name and not name.endswith("UNSPECIFIED")
    }
    assert documented == {reason.name: reason.status for reason in Reason}


def test_the_reasons_that_the_protos_name_exist() -> None:
    """A word in capitals in a comment is a reason, a status or a value of an enum."""
    values = {value.name for file in sources().file for enum in file.enum_type for value in enum.value}
    operations = {"OP_ADD", "OP_REPLACE", "OP_TEST", "OP_INCREMENT", "OP_MOVE", "OP_COPY"}
    known = set(Reason.__members__) | set(Status.__members__) | values | operations | {"ERROR_REASON_"}
    named = {word for comment in comments().values() for word in re.findall(r"\b[A-Z]{2,}_[A-Z_]+", comment)}
    assert len(named) > 20
    assert not named - known
