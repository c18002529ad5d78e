"""`usermeta users export` and `import`: what leaves comes back, once, also when either is killed on its way."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from tests.cli.processes import wait_until
from tests.cli_users.support import Json, Shell, records, shell_on
from tests.support import DEADLINE, bearer
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceStub

MADE_ANEW: Final = {"etag", "metadata_etags", "create_time", "update_time"}
MANY: Final = 1000


def user(number: int, **fields: Any) -> Json:  # noqa: ANN401  # any field of a user
    """Return a user with everything that can be restored."""
    return {
        "id": f"user_{number:06}",
        "external_id": f"idp|{number}",
        "username": f"name{number}",
        "email_address": f"{number}@example.com",
        "email_address_verified": True,
        "first_name": "Ada",
        "last_name": "Løvelace",
        "image_url": "https://example.com/a.png",
        "banned": True,
        "public_metadata": {"plan": "pro", "seats": number, "none": None},
        "private_metadata": {"list": [1, 2.5, True, None, {"a": []}], "text": 'quotes " and \\ and \n'},
        "unsafe_metadata": {},
        **fields,
    }


def content(each: Json) -> Json:
    """Return of a user what can be restored."""
    return {name: value for name, value in each.items() if name not in MADE_ANEW}


def counted(*, updated: int | None = None, **counts: int) -> str:
    """Return what an import of in.jsonl says of its lines; of updated ones only if it may update."""
    shown = {"created": 0, **({} if updated is None else {"updated": updated})}
    shown |= {"unchanged": 0, "conflicting": 0, "failed": 0} | counts
    return f"imported in.jsonl: {', '.join(f'{count} {outcome}' for outcome, count in shown.items())}\n"


def wait_for(shell: Shell, least: int) -> None:
    """Wait until there are so many users."""
    wait_until(lambda: len(shell.listed("--limit", str(least))) >= least)


# Both


def test_what_was_exported_is_imported_unchanged(own: Shell, tmp_path_factory: pytest.TempPathFactory) -> None:
    users = [user(number) for number in range(10)]
    own.write("in.jsonl", *users)
    assert own("users", "import", "in.jsonl").said == counted(created=10)
    assert own("users", "export", "out.jsonl").said == "exported 10 users\n"
    exported = records((own.folder / "out.jsonl").read_text())
    assert [content(each) for each in exported] == users
    assert all(each.keys() >= MADE_ANEW for each in exported)
    with shell_on(tmp_path_factory.mktemp("other")) as other:
        other.good("users", "import", str(own.folder / "out.jsonl"))
        assert [content(each) for each in other.listed()] == users


def test_standard_input_and_output_do_too(own: Shell) -> None:
    text = "".join(f"{json.dumps(user(number))}\n" for number in range(3))
    assert own.piped(text, "users", "import", "-").code == 0
    assert [content(each) for each in records(own.good("users", "export", "-"))] == [user(each) for each in range(3)]


# Import


def test_importing_again_changes_nothing(own: Shell) -> None:
    users = [user(number) for number in range(5)]
    nameless: Json = {"first_name": "Ada"}
    own.write("in.jsonl", *users, {"username": "without-an-id"}, nameless, nameless)
    assert own("users", "import", "in.jsonl").said == counted(created=8)
    before = own.listed()
    assert own("users", "import", "in.jsonl").said == counted(unchanged=8)
    assert own.listed() == before


def test_a_user_that_is_there_just_so_is_unchanged_though_the_line_is_another(own: Shell) -> None:
    own.write("in.jsonl", user(1, unsafe_metadata={"a": 1, "b": 2}))
    own.good("users", "import", "in.jsonl")
    other = {**user(1), "unsafeMetadata": {"b": 2, "a": 1.0}, "etag": "x", "createTime": "2020-01-01T00:00:00Z"}
    del other["unsafe_metadata"]
    own.write("in.jsonl", f"\ufeff  {json.dumps(other)}  ")
    assert own("users", "import", "in.jsonl").said == counted(unchanged=1)


def test_after_a_change_a_line_conflicts_and_the_change_stays(own: Shell) -> None:
    own.write("in.jsonl", user(1), user(2))
    own.good("users", "import", "in.jsonl")
    own.good("users", "set", "user_000001", "--public", '{"plan": "team"}', "--first-name", "Grace", "--not-banned")
    ended = own("users", "import", "in.jsonl")
    assert (ended.code, ended.out) == (4, "")
    assert ended.said.startswith(counted(unchanged=1, conflicting=1))
    (told,) = failed_lines(own).values()
    assert (told["line"], told["code"]) == (1, "ALREADY_EXISTS")
    assert all(name in told["message"] for name in ("user_000001", "first_name", "public_metadata", "banned"))
    assert "private_metadata" not in told["message"]
    assert own.listed("--filter", "id = user_000001")[0]["public_metadata"]["plan"] == "team"


CHANGED: Final[list[Json]] = [
    {"public_metadata": {"plan": "team"}},
    {"first_name": "Grace", "last_name": "", "banned": False},
    {"email_address": "other@example.com"},
    {"email_address_verified": False, "username": "NAME1", "image_url": "", "unsafe_metadata": {"n": None}},
    {"external_id": "", "private_metadata": {}, "public_metadata": {}},
]


@pytest.mark.parametrize("changed", CHANGED, ids="-".join)
def test_with_update_a_user_becomes_as_the_line_says(own: Shell, changed: Json) -> None:
    own.write("in.jsonl", user(1), user(2))
    own.good("users", "import", "in.jsonl")
    own.write("in.jsonl", user(1, **changed), user(2), user(3))
    ended = own("users", "import", "in.jsonl", "--update")
    assert (ended.code, ended.said) == (0, counted(created=1, updated=1, unchanged=1))
    wanted = {name: value for name, value in user(1, **changed).items() if value or isinstance(value, dict)}
    assert content(own.listed("--limit", "1")[0]) == wanted
    assert own("users", "import", "in.jsonl", "--update").said == counted(updated=0, unchanged=3)


def test_after_a_delete_a_line_makes_its_user_again(own: Shell) -> None:
    own.write("in.jsonl", user(1), {"username": "bob"}, {"first_name": "Ada"})
    own.good("users", "import", "in.jsonl")
    with grpc.insecure_channel(own.address) as channel:
        stub = BackendServiceStub(channel)
        for each in own.listed():
            stub.DeleteUser(pb.DeleteUserRequest(user_id=each["id"]), metadata=bearer(own.key))
    assert own("users", "import", "in.jsonl").said == counted(created=3)
    assert user(1) in map(content, own.listed())


@pytest.mark.parametrize("kind", ["external_id", "username", "email_address"])
def test_a_line_without_an_id_is_about_the_user_of_its_first_identifier(own: Shell, kind: str) -> None:
    line: Json = {kind: "a@example.com", "public_metadata": {"n": 1}}
    own.write("in.jsonl", line)
    assert own("users", "import", "in.jsonl").said == counted(created=1)
    own.write("in.jsonl", {**line, "public_metadata": {"n": 2}})
    assert own("users", "import", "in.jsonl").said.startswith(counted(conflicting=1))
    assert own("users", "import", "in.jsonl", "--update").said == counted(updated=1)
    (found,) = own.listed()
    assert (found[kind], found["public_metadata"]) == ("a@example.com", {"n": 2})


def test_an_identifier_of_somebody_else_conflicts_also_with_update(own: Shell) -> None:
    own.write("in.jsonl", user(1), user(2))
    own.good("users", "import", "in.jsonl")
    before = own.listed()
    own.write("in.jsonl", user(2, username="NAME1"), user(3, external_id="idp|1"))
    ended = own("users", "import", "in.jsonl", "--update")
    assert ended.code == 4
    assert ended.said.startswith(counted(updated=0, conflicting=2))
    assert all("IDENTIFIER_TAKEN" in each["message"] for each in failed_lines(own).values())
    assert own.listed() == before


def test_of_lines_about_one_user_the_first_is_first(own: Shell) -> None:
    lines = [user(1, public_metadata={"n": number}) for number in range(20)]
    own.write("in.jsonl", *lines)
    assert own("users", "import", "in.jsonl").said.startswith(counted(created=1, conflicting=19))
    assert own.listed()[0]["public_metadata"] == {"n": 0}
    assert own("users", "import", "in.jsonl", "--update").said == counted(updated=19, unchanged=1)
    assert own.listed()[0]["public_metadata"] == {"n": 19}


def failed_lines(shell: Shell) -> dict[int, Json]:
    """Return what the last import of in.jsonl says of lines, by their number."""
    return {each["line"]: each for each in records((shell.folder / "in.jsonl.errors").read_text())}


BAD: Final[list[tuple[Json | str, str]]] = [
    ("nonsense", "INVALID_ARGUMENT"),
    ("[1]", "INVALID_ARGUMENT"),
    ({"id": "user_2", "nothing": 1}, "INVALID_ARGUMENT"),
    ({"id": "user_2", "public_metadata": []}, "INVALID_ARGUMENT"),
    ({"id": "nobody"}, "INVALID_ARGUMENT"),
    ({"id": "user_2", "public_metadata": {"a": "x" * 9000}}, "INVALID_ARGUMENT"),
    ({"id": "user_2", "private_metadata": {"a": 2**53}}, "INVALID_ARGUMENT"),
    ('{"id": "user_2", "id": "user_3"}', "INVALID_ARGUMENT"),
    ('{"id": "user_2", "public_metadata": {"a": [{"b": 1, "b": 1}]}}', "INVALID_ARGUMENT"),
    ('{"id": "user_2", "firstName": "a", "first_name": "a"}', "INVALID_ARGUMENT"),
    ('{"id": "user_2", "public_metadata": {"a": 1e-999}}', "INVALID_ARGUMENT"),
    ('{"id": "user_2", "public_metadata": {"a": NaN}}', "INVALID_ARGUMENT"),
    ('{"id": "user_2", "public_metadata": ' + '{"a":' * 40 + "1" + "}" * 41, "INVALID_ARGUMENT"),
    (user(1, first_name="Other"), "ALREADY_EXISTS"),
    ({"id": "user_2", "username": "NAME1"}, "ALREADY_EXISTS"),
]


def test_lines_that_fail_are_told_of_and_the_others_are_imported(own: Shell) -> None:
    own.write("in.jsonl", user(1))
    own.good("users", "import", "in.jsonl")
    own.write("in.jsonl", *(line for line, _ in BAD), "", user(3), user(4))
    ended = own("users", "import", "in.jsonl")
    assert ended.code == 4
    assert ended.said.splitlines(keepends=True) == [
        counted(created=2, conflicting=2, failed=len(BAD) - 2),
        f"usermeta: {len(BAD)} lines were not imported: see in.jsonl.errors\n",
    ]
    failed = failed_lines(own)
    assert {number: each["code"] for number, each in failed.items()} == {
        number: code for number, (_, code) in enumerate(BAD, 1)
    }
    assert all(each["message"] for each in failed.values())
    assert [content(each) for each in own.listed()] == [user(1), user(3), user(4)]
    own.write("in.jsonl", user(3), user(4))
    own.good("users", "import", "in.jsonl")
    assert not (own.folder / "in.jsonl.errors").exists()


def test_from_standard_input_lines_that_fail_are_told_of_on_standard_error(shell: Shell) -> None:
    ended = shell.piped('nonsense\n{"first_name":"Ada"}\n', "users", "import", "-")
    assert ended.code == 4
    line, *rest = ended.said.splitlines()
    assert json.loads(line)["line"] == 1
    assert rest == [
        "imported <stdin>: 1 created, 0 unchanged, 0 conflicting, 1 failed",
        "usermeta: 1 lines were not imported",
    ]


def test_an_import_that_was_killed_and_run_again_loses_and_doubles_nobody(own: Shell) -> None:
    """Killed without warning while the rest of its lines is on the way; some have no id, and could be doubled."""
    lines = [user(number) if number % 4 else {"username": f"name{number}"} for number in range(MANY)]
    text = own.write("in.jsonl", *lines).read_bytes()
    killed = own.begin("users", "import", "-", stdin=subprocess.PIPE)
    assert killed.stdin
    killed.stdin.write(text[: len(text) // 2])
    killed.stdin.flush()
    wait_until(lambda: len(own.listed("--limit", "100")) == 100)
    killed.kill()
    assert killed.wait(DEADLINE) < 0
    killed.stdin.close()
    there = len(own.listed())
    assert 100 <= there < MANY
    own.good("users", "import", "in.jsonl")
    found = {each["username"]: content(each) for each in own.listed()}
    assert len(found) == len(own.listed()) == MANY
    assert all(found[each["username"]] == each for each in lines if "id" in each)


def test_without_a_good_key_an_import_ends_at_once(shell: Shell) -> None:
    path = shell.write("in.jsonl", *({"id": f"user_x{number}"} for number in range(200)))
    ended = shell._replace(key="sk_nonsense")("users", "import", "in.jsonl")
    assert (ended.code, ended.out) == (4, "")
    (line,) = ended.said.splitlines()
    assert "UNAUTHENTICATED" in line
    assert not Path(f"{path}.errors").exists()


# Export


@pytest.fixture
def crowd(own: Shell) -> list[Json]:
    """Make more users than a page has, and return them."""
    users = [user(number) for number in range(1500)]
    own.write("in.jsonl", *users)
    own.good("users", "import", "in.jsonl")
    return users


def test_an_export_that_was_cut_off_goes_on_from_its_last_whole_line(own: Shell, crowd: list[Json]) -> None:
    own.good("users", "export", "whole.jsonl")
    whole = (own.folder / "whole.jsonl").read_bytes()
    for cut in (len(whole) // 2, whole.index(b"\n") + 1, 10, 0, len(whole)):
        (own.folder / "out.jsonl.partial").write_bytes(whole[:cut])
        own.good("users", "export", "out.jsonl", "--resume")
        assert (own.folder / "out.jsonl").read_bytes() == whole
        assert not (own.folder / "out.jsonl.partial").exists()
    assert [content(each) for each in records(whole.decode())] == crowd


def test_an_export_begins_anew_unless_it_is_to_go_on(own: Shell) -> None:
    (own.folder / "out.jsonl.partial").write_text("nonsense\n")
    own.good("users", "export", "out.jsonl")
    assert (own.folder / "out.jsonl").read_text() == ""


def test_what_is_no_export_is_not_gone_on_with(own: Shell) -> None:
    (own.folder / "out.jsonl.partial").write_text("nonsense\n")
    ended = own("users", "export", "out.jsonl", "--resume")
    assert ended.code == 2
    assert "is no export" in ended.err
    assert (own.folder / "out.jsonl.partial").read_text() == "nonsense\n"


def test_a_file_is_replaced_only_by_a_complete_export(shell: Shell) -> None:
    path = shell.write("kept.jsonl", "kept")
    ended = shell._replace(address="127.0.0.1:1")("users", "export", "kept.jsonl")
    assert ended.code == 5
    assert path.read_text() == "kept\n"


def test_only_its_owner_can_read_an_export(shell: Shell) -> None:
    shell.good("users", "export", "out.jsonl")
    assert (shell.folder / "out.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "arguments",
    [["export", "-", "--resume"], ["export", "no/such/folder"], ["import", "no-such-file"], ["export"], ["import"]],
)
def test_what_cannot_be_done_is_said_without_a_traceback(shell: Shell, arguments: list[str]) -> None:
    ended = shell("users", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err
