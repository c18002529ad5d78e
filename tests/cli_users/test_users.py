"""`usermeta users list`, `get` and `set`, and `usermeta indexes`."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.cli.processes import wait_until
from tests.cli_users.support import Json, Shell
from usermeta_server.cli.tables import Table, printable, width


def made(shell: Shell, count: int = 1, **fields: Any) -> list[str]:  # noqa: ANN401  # any field of a user
    """Make users with a mark of their own, and return their ids in order; the mark is in each."""
    mark = uuid4().hex
    ids = [f"user_{mark}_{number}" for number in range(count)]
    users: list[Json] = [
        {"id": each, "username": f"{each[5:]}", "private_metadata": {"mark": mark}, **fields} for each in ids
    ]
    shell.write("made.jsonl", *users)
    shell.good("users", "import", "made.jsonl")
    return ids


def which(ids: list[str]) -> str:
    """Return the filter that finds the users that `made` has made."""
    return f"private_metadata.mark = {ids[0].split('_')[1]}"


# list


def test_a_list_is_a_table_with_a_line_for_each_user(shell: Shell) -> None:
    ids = made(shell, 3, first_name="Ada", last_name="Lovelace", banned=True)
    title, *lines = shell.good("users", "list", "--filter", which(ids)).splitlines()
    assert title.split() == ["ID", "USERNAME", "EMAIL", "NAME", "BANNED", "CREATED"]
    assert [line.split()[:5] for line in lines] == [[each, each[5:], "Ada", "Lovelace", "yes"] for each in ids]
    assert {line.index("Ada") for line in lines} == {title.index(" NAME") + 1}


def test_nobody_is_a_table_without_lines(shell: Shell) -> None:
    ended = shell("users", "list", "--filter", "username = nobody")
    assert (ended.code, len(ended.out.splitlines()), ended.said) == (0, 1, "")


def test_a_list_goes_on_over_pages_unless_it_is_limited(shell: Shell) -> None:
    ids = made(shell, 1203)
    assert [each["id"] for each in shell.listed("--filter", which(ids))] == sorted(ids)
    limited = shell.listed("--filter", which(ids), "--limit", "1001", "--order", "id desc")
    assert [each["id"] for each in limited] == sorted(ids, reverse=True)[:1001]


def test_json_lines_are_whole_users_in_proto_form_with_the_protos_names(shell: Shell) -> None:
    document = {"plan": "pro", "seats": 10, "share": 0.5, "none": None, "list": [1, True, "é", {}]}
    (user_id,) = made(shell, public_metadata=document, email_address=f"{uuid4().hex}@example.com")
    (user,) = shell.listed("--filter", f"id = {user_id}")
    assert user["public_metadata"] == document
    assert json.dumps(user["public_metadata"]["seats"]) == "10"
    assert user["unsafe_metadata"] == {}
    assert user["create_time"].endswith("Z")
    assert user["metadata_etags"].keys() == {"public_metadata", "private_metadata", "unsafe_metadata"}
    assert "email_address_verified" not in user


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--filter", "plan ="], 4, "FILTER"),
        (["--order", "plan up"], 4, "order_by"),
        (["--limit", "0"], 2, "--limit"),
    ],
)
def test_a_list_that_is_refused_says_why(shell: Shell, arguments: list[str], code: int, text: str) -> None:
    ended = shell("users", "list", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert text.lower() in ended.err.lower()
    assert "Traceback" not in ended.err


# get


def test_a_user_is_found_by_each_identifier(shell: Shell) -> None:
    name = uuid4().hex
    (user_id,) = made(shell, username=name, external_id=f"idp|{name}", email_address=f"{name}@example.com")
    for arguments in (
        [user_id],
        ["--username", name.upper()],
        ["--external-id", f"idp|{name}"],
        ["--email", f"{name}@example.com"],
    ):
        assert json.loads(shell.good("users", "get", *arguments))["id"] == user_id


@pytest.mark.parametrize("arguments", [[], ["user_1", "--username", "ada"], ["--username", "a", "--email", "a@b"]])
def test_exactly_one_user_is_to_be_named(shell: Shell, arguments: list[str]) -> None:
    ended = shell("users", "get", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "which user" in ended.err


def test_nobody_is_one_line(shell: Shell) -> None:
    ended = shell("users", "get", "user_nobody")
    assert (ended.code, ended.out) == (3, "")
    (line,) = ended.said.splitlines()
    assert "NOT_FOUND" in line


# set


def test_documents_are_merged_unless_they_are_to_be_replaced(shell: Shell) -> None:
    (user_id,) = made(shell, public_metadata={"a": 1, "b": {"c": 2}}, unsafe_metadata={"x": 1})
    after = json.loads(shell.good("users", "set", user_id, "--public", '{"a": null, "b": {"d": 3}}'))
    assert after["public_metadata"] == {"b": {"c": 2, "d": 3}}
    after = json.loads(shell.good("users", "set", user_id, "--public", "{}", "--private", '{"n": null}', "--replace"))
    assert (after["public_metadata"], after["private_metadata"]) == ({}, {"n": None})
    assert after["unsafe_metadata"] == {"x": 1}


def test_fields_are_set_and_unset(shell: Shell) -> None:
    (user_id,) = made(shell, last_name="Byron", banned=True, public_metadata={"a": 1})
    arguments = ["--first-name", "Ada", "--last-name", "", "--not-banned", "--unsafe", '{"y": 2}']
    after = json.loads(shell.good("users", "set", user_id, *arguments))
    assert after["first_name"] == "Ada"
    assert not {"last_name", "banned"} & after.keys()
    assert (after["public_metadata"], after["unsafe_metadata"]) == ({"a": 1}, {"y": 2})
    assert json.loads(shell.good("users", "get", user_id)) == after


@pytest.mark.parametrize("arguments", [[], ["--public", "[1]"], ["--private", "{"], ["--unsafe", "nothing"]])
def test_what_sets_nothing_is_refused(shell: Shell, arguments: list[str]) -> None:
    ended = shell("users", "set", "user_1", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err


# indexes


def test_indexes_are_made_listed_and_dropped(shell: Shell) -> None:
    path = 'public_metadata."first name"'
    assert shell.good("indexes", "create", path).split(maxsplit=1) == ["building", f"{path}\n"]
    wait_until(lambda: shell.good("indexes", "list") == f"ready     {path}\n")
    assert shell.good("indexes", "delete", path) == ""
    assert shell.good("indexes", "list") == ""
    ended = shell("indexes", "delete", path)
    assert (ended.code, ended.out) == (3, "")
    assert "NOT_FOUND" in ended.err


def test_help_says_what_a_command_does(shell: Shell) -> None:
    for command in (["users"], ["indexes"], ["users", "import"], ["users", "export"], ["users", "set"]):
        assert "Usage" in shell.good(*command, "--help")
    assert "cannot be" in shell.good("users", "import", "--help")


# Tables


def test_a_table_keeps_the_columns_of_its_first_rows_and_cuts_nothing_off() -> None:
    table = Table(["A", "BB"])
    assert list(table.lines([("x", "y"), ("long", "")])) == ["A     BB", "x     y", "long"]
    assert list(table.lines([("longer", "y")])) == ["longer  y"]


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\x1b[31m\u202e\nb é") == "a\\x1b[31m\\u202e\\nb é"


def test_a_width_is_that_on_a_terminal() -> None:
    assert [width(text) for text in ("abc", "é", "e\u0301", "日本")] == [3, 1, 1, 4]
