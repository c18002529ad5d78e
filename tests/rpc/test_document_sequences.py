"""Sequences of merges, replacements and patches over the wire, against the plain models of the engine's tests."""

import copy
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.documents.models import ModelError, model_apply, model_depth, model_flaws, model_merge
from tests.documents.test_properties import scalars
from tests.rpc.requests import merge, patch, replace
from tests.support import Service, document, refused
from usermeta_server.core.documents import Limits, Op, Operation, dump, equal
from usermeta_server.core.documents.json_pointer import format_pointer
from usermeta_server.values import JsonObject

LIMITS = Limits()
FEW = 25

keys = st.sampled_from(["a", "b", "0", "~", "/", "\U0001f600"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(keys, values, max_size=3)
paths = st.lists(keys | st.sampled_from(["-", "1"]), max_size=3).map(format_pointer)
steps = st.one_of(
    st.fixed_dictionaries({"op": st.sampled_from(["add", "replace", "test"]), "path": paths, "value": values}),
    st.fixed_dictionaries({"op": st.just("remove"), "path": paths}),
    st.fixed_dictionaries({"op": st.just("copy"), "path": paths, "from": paths}),
    st.fixed_dictionaries({"op": st.just("increment"), "path": paths, "value": st.integers(-3, 3)}),
)


class Write(NamedTuple):
    """One write: its verb, and what it is given."""

    verb: str
    value: Any


writes = st.one_of(
    st.builds(Write, st.just("merge"), objects),
    st.builds(Write, st.just("replace"), objects),
    st.builds(Write, st.just("patch"), st.lists(steps, min_size=1, max_size=3)),
)


def modelled(before: JsonObject, write: Write) -> JsonObject | str:
    """Return the document that the models make of a write, or why they refuse it."""
    if write.verb == "merge":
        after: Any = model_merge(copy.deepcopy(before), copy.deepcopy(write.value))
    elif write.verb == "replace":
        after = write.value
    else:
        operations = [
            Operation(Op(step["op"]), step["path"], step.get("from"), step.get("value")) for step in write.value
        ]
        try:
            after = model_apply(before, operations)
        except ModelError as error:
            return str(error)
    assert not model_flaws(after, LIMITS)
    assert len(dump(after)) <= LIMITS.max_bytes
    return "METADATA_TOO_DEEP" if model_depth(after) > LIMITS.max_depth else after


@given(st.lists(writes, min_size=1, max_size=8))
@hypothesis_settings(max_examples=FEW)
async def test_a_document_is_always_what_the_models_say(service: Service, sequence: list[Write]) -> None:
    user = await service.user()
    etag, current = user.metadata_etags.private_metadata, dict[str, Any]()
    for write in sequence:
        make: Any = {"merge": merge, "replace": replace, "patch": patch}[write.verb]
        request = make(user.id, private_metadata=write.value)
        calling = getattr(service.admin, f"{write.verb.capitalize()}UserMetadata")(request)
        expected = modelled(current, write)
        if isinstance(expected, str):
            await refused(calling, expected)
        else:
            reply = (await calling).user
            assert equal(document(reply.private_metadata), expected)
            assert (reply.metadata_etags.private_metadata == etag) is equal(expected, current)
            etag, current = reply.metadata_etags.private_metadata, expected
        assert equal(document((await service.get(user.id)).private_metadata), current)
