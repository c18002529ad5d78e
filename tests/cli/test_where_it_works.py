"""Where commands work: on the server that they are told, or on a store that is there and that no server owns."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.cli.processes import COMMAND, Ended, Running, Shell, environment, run, served
from tests.support import DEADLINE
from usermeta_server.errors import ExitCode

USER = '{"id": "user_1", "username": "ada", "public_metadata": {"plan": "pro"}}\n'

COMMANDS = [
    ["keys", "list"],
    ["keys", "revoke", "key_1"],
    ["token", "user_1"],
    ["users", "list"],
    ["users", "get", "user_1"],
    ["users", "set", "user_1", "--public", "{}"],
    ["users", "export", "-"],
    ["users", "import", "in.jsonl"],
    ["indexes", "create", "public_metadata.plan"],
    ["indexes", "list"],
    ["indexes", "delete", "public_metadata.plan"],
    ["history", "user_1"],
    ["watch"],
    ["relay", "https://example.com/", "--state", "state"],
]
WEBHOOK = {"USERMETA_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def bare(shell: Shell) -> Shell:
    """Return what runs commands in a folder with a file of users, and without a store."""
    (shell.folder / "in.jsonl").write_text(USER)
    return shell


@pytest.fixture
def store(bare: Shell) -> Shell:
    """Return what runs commands in a folder with a store that has one user and one key."""
    good(bare("keys", "create", "first"))
    good(bare("users", "import", "in.jsonl"))
    return bare


def database(shell: Shell) -> list[str]:
    """Return the names of the database's files."""
    return sorted(path.name for path in shell.folder.glob("usermeta.db*"))


def good(ended: Ended) -> str:
    """Return what a command printed that has succeeded."""
    assert ended.code == 0, ended
    return ended.out


# On a store


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_without_a_store_a_command_says_so_and_makes_none(bare: Shell, arguments: list[str]) -> None:
    ended = bare(*arguments, **WEBHOOK)
    assert (ended.code, ended.out) == (5, "")
    (line,) = ended.err.splitlines()
    assert str(bare.folder / "usermeta.db") in line
    assert database(bare) == []


def test_an_empty_file_is_no_store(bare: Shell) -> None:
    (bare.folder / "usermeta.db").touch()
    assert bare("users", "list").code == 5
    assert database(bare) == ["usermeta.db"]


def test_every_command_works_on_the_store_itself_and_says_which(store: Shell) -> None:
    for arguments in COMMANDS:
        if arguments[0] not in {"watch", "relay"}:
            ended = store(*arguments)
            assert ended.used == f"database {store.folder / 'usermeta.db'}"
            assert ended.code == (3 if arguments == ["keys", "revoke", "key_1"] else 0), ended


def test_what_is_written_to_the_store_itself_is_the_operators_and_leaves_no_key(store: Shell) -> None:
    good(store("users", "set", "user_1", "--public", '{"plan": "team"}', "--first-name", "Ada"))
    shown = good(store("history", "user_1"))
    assert shown.count("by operator command line") == 3
    assert len(good(store("keys", "list")).splitlines()) == 1


def test_a_watch_of_the_store_itself_prints_the_snapshot_and_ends_when_it_is_interrupted(store: Shell) -> None:
    process = subprocess.Popen(  # noqa: S603  # no shell
        [*COMMAND, "watch", "--snapshot"],
        cwd=store.folder,
        env=environment(store.folder, {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["snapshot_user"]["user"]["id"] == "user_1"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == ExitCode.BROKEN_OFF
    assert "Traceback" not in err


def test_a_watch_of_the_store_itself_that_is_refused_says_why(store: Shell) -> None:
    ended = store("watch", "--filter", "plan =")
    assert (ended.code, ended.out) == (4, "")
    assert "FILTER_INVALID" in ended.said


def test_a_store_without_an_admin_key_gets_one_by_default(shell: Shell) -> None:
    good(shell("keys", "create", "reader", "--scope", "read"))
    good(shell("keys", "create", "second"))
    good(shell("keys", "create", "third"))
    assert [line.split()[1] for line in good(shell("keys", "list")).splitlines()] == ["read", "admin", "write"]


# On a server


@pytest.mark.parametrize("arguments", [*COMMANDS, ["keys", "create", "x"]], ids=" ".join)
@pytest.mark.parametrize("by", ["flags", "variables"])
def test_a_command_that_names_a_server_goes_there_and_nowhere_else(bare: Shell, arguments: list[str], by: str) -> None:
    """Though there is none: a store is neither looked for nor made."""
    given = {"USERMETA_ADDRESS": NOWHERE, "USERMETA_KEY": "sk_x"} if by == "variables" else {}
    flags = ["--address", NOWHERE, "--key", "sk_x"] if by == "flags" else []
    ended = bare(*arguments, *flags, **WEBHOOK, **given)
    assert (ended.code, ended.out) == (5, "")
    assert ended.used == f"server {NOWHERE}"
    assert NOWHERE in ended.said
    assert database(bare) == []


@pytest.mark.parametrize("flags", [["--address", NOWHERE], ["--key", ""], ["--address", NOWHERE, "--key", ""]])
def test_a_server_without_a_key_is_a_mistake_and_never_the_store(store: Shell, flags: list[str]) -> None:
    ended = store("keys", "create", "x", *flags)
    assert (ended.code, ended.out) == (2, "")
    assert "USERMETA_KEY" in ended.err
    assert len(good(store("keys", "list")).splitlines()) == 1


@pytest.mark.parametrize("key", ["sk_é", "sk_x\n"])
def test_a_key_that_cannot_be_sent_is_a_mistake_and_not_shown(shell: Shell, key: str) -> None:
    ended = shell("keys", "list", USERMETA_KEY=key)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert key.strip() not in line


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """Return a server with a store of its own, and its key."""
    folder = tmp_path_factory.mktemp("elsewhere")
    key = run(folder, "keys", "create", "admin").out.strip()
    with served(folder) as running:
        yield running, key


def test_a_key_is_made_on_the_server_though_there_is_a_store_here(store: Shell, elsewhere: tuple[Running, str]) -> None:
    server, key = elsewhere
    there = ["--address", server.address, "--key", key]
    good(store("keys", "create", "there", *there))
    assert len(good(store("keys", "list")).splitlines()) == 1
    lines = good(store("keys", "list", *there)).splitlines()
    assert [line.split()[1] for line in lines] == ["admin", "write"]


# How it ends


def test_what_reads_the_output_may_go_away(store: Shell) -> None:
    many = "".join(f'{{"id": "user_{number}x", "first_name": "{"x" * 200}"}}\n' for number in range(2000))
    (store.folder / "in.jsonl").write_text(many)
    good(store("users", "import", "in.jsonl"))
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(  # noqa: S603  # no shell
        [*COMMAND, "users", "list", "--json"],
        env=environment(store.folder, {}),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    os.close(writing)
    assert ended.returncode == ExitCode.BROKEN_OFF
    assert Ended(0, "", ended.stderr).said == ""


def test_help_says_every_exit_code(shell: Shell) -> None:
    shown = good(shell("--help"))
    told = [line.split()[0] for line in shown[shown.index("Exit codes:") :].splitlines()[1:] if line.strip()]
    assert told == ["0", *(str(int(code)) for code in ExitCode)]
