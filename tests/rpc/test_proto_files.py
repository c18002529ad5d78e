"""The files of the protos: what a client of any language is generated from."""

from pathlib import Path
from typing import Any, Final

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileOptions
from google.rpc import error_details_pb2, status_pb2

from tests.rpc.test_proto_comments import sources

ROOT: Final = Path(__file__).parents[2]
OPTIONS: Final = {
    "csharp_namespace": "Usermeta.{Part}.V1",
    "go_package": "usermeta/gen/{part}/v1;{part}v1",
    "java_package": "usermeta.{part}.v1",
    "objc_class_prefix": "UM{initial}",
    "php_namespace": "Usermeta\\{Part}\\V1",
    "ruby_package": "Usermeta::{Part}::V1",
}
"""For each language where generated code shall live, by the middle part of the package's name."""


@pytest.mark.parametrize("file", list(sources().file), ids=lambda file: file.name)
def test_every_file_says_where_each_languages_code_lives(file: FileDescriptorProto) -> None:
    _, part, _ = file.package.split(".")
    words = {"part": part, "Part": part.capitalize(), "initial": part[0].upper()}
    options: FileOptions = file.options
    assert {name: getattr(options, name) for name in OPTIONS} == {
        name: pattern.format(**words) for name, pattern in OPTIONS.items()
    }
    assert options.java_multiple_files


def test_no_two_files_of_a_package_make_the_same_java_class() -> None:
    classes = [(file.package, file.options.java_outer_classname) for file in sources().file]
    assert all(name.endswith("Proto") for _, name in classes)
    assert len(set(classes)) == len(classes)


def test_the_frontends_of_objective_c_and_the_backends_do_not_clash() -> None:
    """There all generated names share one space."""
    prefixes = {file.package: file.options.objc_class_prefix for file in sources().file}
    assert len(set(prefixes.values())) == len(prefixes) == 3


@pytest.mark.parametrize("module", [status_pb2, error_details_pb2])
def test_what_errors_are_made_of_is_at_hand_for_every_language(module: Any) -> None:  # noqa: ANN401  # a module
    """The copies are those of the package that the server itself encodes errors with."""
    name = module.DESCRIPTOR.name
    installed = Path(module.__file__).with_name(Path(name).name)
    assert (ROOT / "third_party" / name).read_bytes() == installed.read_bytes()
