"""The limits of a document, on every path that writes one; what is accepted reads back as it was given."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from tests.rpc.methods import Subject
from tests.rpc.requests import merge, patch, replace
from tests.rpc.writes import WRITES, Write, by_a_batch, by_a_frontends_patch, by_create, by_patch
from tests.support import BACKEND, Refusal, Service, bearer, document, refused, serving, settings, struct
from usermeta_server.core.documents import equal
from usermeta_server.values import JsonObject

LIMIT: Final = 8192
MAX: Final = 2**53 - 1


def sized(size: int) -> JsonObject:
    """Return a document whose canonical JSON has this many bytes."""
    return {"s": "x" * (size - len('{"s":""}'))}


def nested(depth: int) -> JsonObject:
    """Return a document that is nested this deep, in objects and lists by turns."""
    value: Any = {} if depth % 2 else []
    for level in range(depth - 1, 0, -1):
        value = {"k": value} if level % 2 else [value]
    return {"k": value["k"]} if depth > 1 else {}


every_write = pytest.mark.parametrize("write", WRITES, ids=[each.__name__ for each in WRITES])

ACCEPTED: Final[Mapping[str, JsonObject]] = {
    "as large as allowed": sized(LIMIT),
    "as large as allowed, in two-byte characters": {"é": "é" * ((LIMIT - len('{"":""}') - 2) // 2)},
    "16 deep": nested(16),
    "a key of 256 bytes": {"k" * 256: 1},
    "a key of 256 bytes in emoji": {"\U0001f600" * 64: 1},
    "keys that other formats stumble over": {
        ".": 1,
        "a.b": 2,
        "/": 3,
        "~": 4,
        "~1": 5,
        '"': 6,
        "'": 7,
        "\\": 8,
        " ": 9,
    },
    "keys with names of JavaScript's": {"__proto__": {}, "constructor": 1, "$ref": "x", "null": None},
    "strings of all kinds": {"s": ["", "\n\t\x7f\x01", "\u2028", "\ufeff", "\U0010ffff", "</script>", "e\u0301"]},
    "the largest numbers": {"n": [MAX, -MAX, 0, -1, 0.1, -0.5, 1e-300, 5e-324, 123456.789, 1e15]},
    "booleans and numbers side by side": {"b": [True, 1, False, 0, None]},
    "empty containers": {"o": {}, "l": [], "ll": [[], [{}]]},
}


@every_write
@pytest.mark.parametrize("value", ACCEPTED.values(), ids=ACCEPTED)
async def test_what_is_accepted_reads_back_unchanged(
    service: Service, subject: Subject, write: Write, value: JsonObject
) -> None:
    written = await write(service, subject, struct(value))
    expected = without_nulls(value) if "merge" in write.__name__ or "batch" in write.__name__ else value
    assert equal(document(written), expected)
    assert equal(json.loads(json_format.MessageToJson(written)), expected)


def without_nulls(value: Any) -> Any:  # noqa: ANN401  # any JSON
    """Return what a merge of this into nothing gives: objects lose their null members."""
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    return value


REFUSED: Final[Mapping[str, tuple[JsonObject, str, dict[str, str]]]] = {
    "a byte too large": (sized(LIMIT + 1), "METADATA_TOO_LARGE", {"path": "", "size": "8193", "limit": "8192"}),
    "much too large": (sized(1 << 20), "METADATA_TOO_LARGE", {"path": "", "size": "1048576", "limit": "8192"}),
    "17 deep": (nested(17), "METADATA_TOO_DEEP", {"path": "/k/0" * 8, "size": "17", "limit": "16"}),
    "30 deep": (nested(30), "METADATA_TOO_DEEP", {"path": "/k/0" * 8, "size": "30", "limit": "16"}),
    "an empty key": ({"a": {"": 1}}, "METADATA_KEY_INVALID", {"path": "/a/", "size": "0", "limit": "256"}),
    "a key of 257 bytes": (
        {"a": {"k" * 257: 1}},
        "METADATA_KEY_INVALID",
        {"size": "257", "limit": "256"},
    ),
    "a key of 258 bytes in 129 characters": (
        {"é" * 129: 1},
        "METADATA_KEY_INVALID",
        {"size": "258", "limit": "256"},
    ),
    "U+0000 in a key": ({"a": [{"b\0": 1}]}, "METADATA_KEY_INVALID", {}),
    "U+0000 in a string": ({"a/b": ["x\0y"]}, "METADATA_STRING_INVALID", {"path": "/a~1b/0"}),
    "2^53": ({"a": [1, 2**53]}, "NUMBER_NOT_REPRESENTABLE", {"path": "/a/1"}),
    "-2^53": ({"a": -(2**53)}, "NUMBER_NOT_REPRESENTABLE", {"path": "/a"}),
    "2^53 + 1": ({"a": 2**53 + 1}, "NUMBER_NOT_REPRESENTABLE", {"path": "/a"}),
    "a huge number": ({"a": {"b": 1e300}}, "NUMBER_NOT_REPRESENTABLE", {"path": "/a/b"}),
    "not a number": ({"a": math.nan}, "NUMBER_NOT_REPRESENTABLE", {"path": "/a"}),
    "infinity": ({"a": [math.inf]}, "NUMBER_NOT_REPRESENTABLE", {"path": "/a/0"}),
    "minus infinity": ({"~": -math.inf}, "NUMBER_NOT_REPRESENTABLE", {"path": "/~0"}),
}


def wire(value: Mapping[str, Any]) -> Struct:
    """Return a Struct, also of numbers that JSON does not have."""
    made = Struct()
    made.update(value)
    return made


@every_write
@pytest.mark.parametrize("case", REFUSED)
async def test_what_would_not_come_back_unchanged_is_refused_and_named(
    service: Service, subject: Subject, write: Write, case: str
) -> None:
    value, reason, metadata = REFUSED[case]
    refusal = await refused(write(service, subject, wire(value)), reason)
    named = dict(refusal.metadata)
    if write in PATCHES and reason in {"METADATA_TOO_LARGE", "METADATA_TOO_DEEP"}:
        # What grew too far is an operation: its index and its path are named.
        assert (named["index"], named["path"]) == ("0", "")
        named["path"] = metadata["path"]
    assert metadata.items() <= named.items()
    names_the_document(refusal, write)
    after = await service.get(subject.user_id)
    assert document(after.unsafe_metadata) in ({"theme": "dark"}, {})


def names_the_document(refusal: Refusal, write: Write) -> None:
    """Check that a refusal names its document, as the request has it, or the operation on it."""
    name = "unsafe_metadata" if "frontend" in write.__name__ else "private_metadata"
    prefixes: Mapping[Write, str] = {by_create: "user.", by_a_batch: "requests[0]."}
    field = prefixes.get(write, "") + name
    assert refusal.metadata["field"] == field
    assert refusal.message.startswith(field)
    assert refusal.fields in ({(field,), (f"{field}[0]",)} if write in PATCHES else {(field,)})


PATCHES: Final[set[Write]] = {by_patch, by_a_frontends_patch}


@every_write
async def test_a_value_of_no_kind_is_refused(service: Service, subject: Subject, write: Write) -> None:
    """Read as null, it would delete a key."""
    value = wire({"theme": {"list": [1]}})
    value.fields["theme"].struct_value.fields["list"].list_value.values.add()
    refusal = await refused(write(service, subject, value), "FIELD_INVALID")
    assert refusal.metadata["path"] == "/theme/list/1"


def encoded(number: int, body: bytes) -> bytes:
    """Return a length-delimited field on the wire."""
    size, length = len(body), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + body


def nested_bytes(depth: int) -> bytes:
    """Return a Struct on the wire that is nested this deep in objects."""
    body = b""
    for _ in range(depth - 1):
        body = encoded(1, encoded(1, b"k") + encoded(2, encoded(5, body)))
    return body


BEYOND: Final = [(17, True), (31, True), (32, True), (36, False), (40, False), (200, False), (5000, False)]


@pytest.mark.parametrize(("depth", "parsed"), BEYOND)
async def test_a_body_nested_deeper_than_protobuf_parses_is_refused_without_a_path(
    service: Service, subject: Subject, depth: int, *, parsed: bool
) -> None:
    body = encoded(1, subject.user_id.encode()) + encoded(3, nested_bytes(depth))
    refusal = await refused(
        service.raw(f"{BACKEND}MergeUserMetadata", body, bearer(service.admin_key)),
        "METADATA_TOO_DEEP" if parsed else "FIELD_INVALID",
    )
    assert ("path" in refusal.metadata) is parsed
    assert refusal.metadata.get("size") == (str(depth) if parsed else None)


async def test_the_limit_is_on_the_result(service: Service, subject: Subject) -> None:
    """A merge is judged by what the document would become."""
    await service.admin.ReplaceUserMetadata(replace(subject.user_id, private_metadata=sized(LIMIT - 6)))
    await service.admin.MergeUserMetadata(merge(subject.user_id, private_metadata={"a": 1}))
    refusal = await refused(
        service.admin.MergeUserMetadata(merge(subject.user_id, private_metadata={"b": 1})), "METADATA_TOO_LARGE"
    )
    assert refusal.metadata["size"] == "8198"
    await service.admin.MergeUserMetadata(merge(subject.user_id, private_metadata={"b": 1, "a": None}))


async def test_the_size_is_configurable(tmp_path: Path) -> None:
    for size in (100, 20_000):
        async with serving(settings(tmp_path / str(size), metadata_max_bytes=size)) as service:
            assert (await service.user(public_metadata=sized(size))).id
            refusal = await refused(service.user(public_metadata=sized(size + 1)), "METADATA_TOO_LARGE")
            assert refusal.metadata["limit"] == str(size)


async def test_one_document_past_its_limit_keeps_the_others_from_being_written(
    service: Service, subject: Subject
) -> None:
    before = await service.get(subject.user_id)
    request = merge(subject.user_id, public_metadata={"a": 1}, unsafe_metadata=sized(9000))
    await refused(service.admin.MergeUserMetadata(request), "METADATA_TOO_LARGE")
    assert await service.get(subject.user_id) == before


async def test_eighteen_doubling_copies_are_refused_at_the_step_that_passes_the_limit(service: Service) -> None:
    user = await service.user()
    steps: list[Any] = [{"op": "add", "path": "/d0", "value": "x" * 100}]
    steps += [{"op": "copy", "from": "", "path": f"/d{index}"} for index in range(1, 19)]
    refusal = await refused(
        service.admin.PatchUserMetadata(patch(user.id, private_metadata=steps)), "METADATA_TOO_LARGE"
    )
    assert (refusal.metadata["index"], refusal.metadata["size"]) == ("7", "14714")
    assert await service.get(user.id) == user


COUNTED: Final = [(MAX, 1, None), (MAX, -1, MAX - 1), (-MAX, -1, None), (0.5, 0.5, 1), (MAX - 1, 1, MAX)]


@pytest.mark.parametrize(("start", "step", "total"), COUNTED)
async def test_an_increment_stays_within_what_can_be_represented(
    service: Service, subject: Subject, start: float, step: float, total: float | None
) -> None:
    await service.admin.ReplaceUserMetadata(replace(subject.user_id, private_metadata={"n": start}))
    request = patch(subject.user_id, private_metadata=[{"op": "increment", "path": "/n", "value": step}])
    if total is None:
        await refused(service.admin.PatchUserMetadata(request), "NUMBER_NOT_REPRESENTABLE")
    else:
        reply = await service.admin.PatchUserMetadata(request)
        assert document(reply.user.private_metadata) == {"n": total}
