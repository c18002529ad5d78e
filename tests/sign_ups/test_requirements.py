"""What a sign-up must have: fields, and paths into its unsafe document."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.sign_ups.support import MISSING, READY, begin, email_address
from tests.support import document, refused, serving, settings
from usermeta_server.core.sign_ups import Requirements
from usermeta_server.errors import OperatorError
from usermeta_server.model import SignUp, SignUpState
from usermeta_server.settings import ServerSettings, read

TERMS = "unsafe_metadata.terms_accepted"
ABSENT: Any = object()


def sign_up(**changes: Any) -> SignUp:  # noqa: ANN401  # any field
    """Return an open sign-up with nothing in it but these."""
    texts = dict.fromkeys(SignUp._fields, "")
    blank = {name: 0 for name in SignUp._fields if name == "version" or name.endswith("_time")}
    documents = dict.fromkeys(("public_metadata", "private_metadata", "unsafe_metadata"), "{}")
    fields: dict[str, Any] = {**texts, **blank, **documents, "state": SignUpState.OPEN, "email_address_verified": False}
    return SignUp(**{**fields, **changes})


def with_document(value: object) -> SignUp:
    """Return a sign-up whose unsafe document is this."""
    return sign_up(unsafe_metadata=orjson.dumps(value).decode())


@pytest.mark.parametrize("given", [True, 0, 1, "yes", " ", "false", [], {}, [None], 0.0])
def test_a_value_counts_as_given(given: object) -> None:
    assert Requirements([TERMS]).missing(with_document({"terms_accepted": given})) == ()


@pytest.mark.parametrize("given", [ABSENT, None, False, ""])
def test_absent_null_false_and_the_empty_string_are_missing(given: object) -> None:
    value = {} if given is ABSENT else {"terms_accepted": given}
    assert Requirements([TERMS]).missing(with_document(value)) == (TERMS,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("username", "ada"),
        ("email_address", "ada@example.com"),
        ("email_address_verified", True),
        ("first_name", "Ada"),
        ("last_name", "Lovelace"),
        ("external_id", "idp|ada"),
    ],
)
def test_a_field_must_be_set(name: str, value: object) -> None:
    requirements = Requirements([name])
    assert requirements.missing(sign_up()) == (name,)
    assert requirements.missing(sign_up(**{name: value})) == ()


def test_paths_go_to_any_depth_and_quote_what_is_not_plain() -> None:
    names = ['unsafe_metadata."terms.v2".at', 'unsafe_metadata.a."say \\"yes\\""', r'unsafe_metadata."a\nb"']
    requirements = Requirements(names)
    assert requirements.missing(with_document({})) == tuple(names)
    assert requirements.missing(with_document({"terms": {"v2": {"at": 1}}, "a": ["say"]})) == tuple(names)
    given = {"terms.v2": {"at": 1}, "a": {'say "yes"': 1}, "a\nb": 0}
    assert requirements.missing(with_document(given)) == (), "a path is written as in a filter"


def test_names_keep_their_order_and_stand_once() -> None:
    requirements = Requirements(["username", TERMS, "username"])
    assert requirements.names == requirements.missing(sign_up()) == ("username", TERMS)
    assert Requirements([]).missing(sign_up()) == ()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nothing",
        "unsafe_metadata",
        "public_metadata.a",
        "private_metadata.a",
        "username.a",
        "unsafe_metadata.",
        "id",
    ],
)
def test_what_is_neither_a_field_nor_a_path_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"path|PATH"):
        Requirements([name])


async def test_the_operator_is_told_of_a_requirement_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="sign_up_required: 'banned'"):
        async with serving(settings(tmp_path, sign_up_required=("banned",))):
            pass


def test_settings_name_them_with_commas_between() -> None:
    read_back = read(ServerSettings, {"USERMETA_SIGN_UP_REQUIRED": f"username, {TERMS}"}, {})
    assert read_back.sign_up_required == ("username", TERMS)
    assert read(ServerSettings, {}, {}).sign_up_required == ("email_address",)
    assert read(ServerSettings, {"USERMETA_SIGN_UP_REQUIRED": ""}, {}).sign_up_required == ()


async def test_a_sign_up_cannot_be_completed_until_the_terms_are_accepted(tmp_path: Path) -> None:
    chosen = settings(tmp_path, sign_up_required=("email_address", TERMS))
    async with serving(chosen) as service:
        pending = await begin(service, {"unsafe_metadata": {"terms_accepted": False}})
        assert list(pending.first.required_fields) == list(pending.first.missing_fields) == ["email_address", TERMS]
        for call in (pending.complete(), pending.attest(), pending.complete(validate_only=True)):
            refusal = await refused(call, "SIGN_UP_INCOMPLETE")
            assert refusal.metadata == {"missing_fields": f"email_address,{TERMS}"}
        after = await pending.update({"email_address": email_address()})
        assert (after.status, list(after.missing_fields)) == (MISSING, [TERMS])
        after = await pending.update({"unsafe_metadata": {"terms_accepted": True}})
        assert (after.status, list(after.missing_fields)) == (READY, [])
        assert document((await pending.complete()).user.unsafe_metadata) == {"terms_accepted": True}


async def test_what_a_backend_attaches_shows_where_its_holder_is_told_what_is_missing(tmp_path: Path) -> None:
    """The etag moves with what is shown: here that nothing is missing any more, never what was attached."""
    async with serving(settings(tmp_path, sign_up_required=("email_address_verified",))) as service:
        pending = await begin(service)
        assert (pending.first.status, list(pending.first.missing_fields)) == (MISSING, ["email_address_verified"])
        known = await pending.attach({"email_address_verified": True})
        seen = await pending.seen()
        assert (seen.status, list(seen.missing_fields)) == (READY, [])
        assert seen.etag not in {pending.first.etag, known.etag}
        assert seen.update_time.ToMicroseconds() > pending.first.update_time.ToMicroseconds()


async def test_new_settings_hold_for_sign_ups_that_are_open(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as service:
        pending = await begin(service)
    async with serving(settings(tmp_path, sign_up_required=("username",))) as service:
        pending.service, pending.holder = service, service.frontend(pending.token)
        assert list((await pending.seen()).missing_fields) == ["username"]
        await refused(pending.complete(), "SIGN_UP_INCOMPLETE")
