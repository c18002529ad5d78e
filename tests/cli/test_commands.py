"""`usermeta keys` and `usermeta token`, on a store that nobody owns and through a running server."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.cli.processes import COMMAND, Ended, Running, Shell, environment, run, served
from tests.support import DEADLINE
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.secret_key_pb2 import Scope, SecretKey
from usermeta_server.cli.keys import _default_scope

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs

SECRET = re.compile(r"sk_[0-9a-v]{26}_[A-Za-z0-9_-]{43}\n")


def key_id(secret: str) -> str:
    """Return the id of a key by its secret."""
    return f"key_{secret.split('_')[1]}"


def listed(ended: Ended) -> dict[str, str]:
    """Return the lines of `keys list` by the key's id."""
    assert ended.code == 0
    return {line.split()[0]: line for line in ended.out.splitlines()}


# On the store itself


def test_a_new_key_is_all_that_is_printed(shell: Shell) -> None:
    made = shell("keys", "create", "my key")
    assert (made.code, made.said) == (0, "")
    assert SECRET.fullmatch(made.out)


@pytest.mark.parametrize(
    ("arguments", "scopes"),
    [([], ["admin", "write"]), (["--scope", "read"], ["read", "read"]), (["--scope", "admin"], ["admin", "admin"])],
)
def test_the_first_key_is_for_everything_and_later_ones_write_unless_told_otherwise(
    shell: Shell, arguments: list[str], scopes: list[str]
) -> None:
    ids = [key_id(shell("keys", "create", "a key", *arguments).out) for _ in scopes]
    lines = listed(shell("keys", "list"))
    assert [lines[each].split()[1] for each in ids] == scopes


def test_a_list_shows_names_and_times_and_no_secret(shell: Shell) -> None:
    secret = shell("keys", "create", "a key with a name").out.strip()
    shown = shell("keys", "list")
    line = listed(shown)[key_id(secret)]
    assert line.endswith("a key with a name")
    assert re.search(r"created \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ expires - revoked -", line)
    assert secret[-43:] not in shown.out


def test_where_no_admin_key_works_the_next_key_is_one(shell: Shell) -> None:
    lower = key_id(shell("keys", "create", "a key", "--scope", "write").out)
    made = key_id(shell("keys", "create", "a key").out)
    lines = listed(shell("keys", "list"))
    assert [lines[each].split()[1] for each in (lower, made)] == ["write", "admin"]


def test_the_last_admin_key_stays(shell: Shell) -> None:
    made = key_id(shell("keys", "create", "a key").out)
    ended = shell("keys", "revoke", made)
    assert ended.code == 4
    assert "LAST_ADMIN_KEY" in ended.err
    assert listed(shell("keys", "list"))[made].endswith("revoked -  a key")


def test_a_revoked_key_is_listed_as_such(shell: Shell) -> None:
    shell("keys", "create", "another key")
    made = key_id(shell("keys", "create", "a key").out)
    revoked = shell("keys", "revoke", made)
    assert (revoked.code, revoked.out, revoked.said) == (0, "", "")
    assert "revoked 2" in listed(shell("keys", "list"))[made]


FAILING = [
    (["keys", "revoke", "key_nobody"], 3, "SECRET_KEY_NOT_FOUND"),
    (["token", "user_nobody"], 3, "USER_NOT_FOUND"),
    (["keys", "create", "x" * 257], 4, "display_name"),
    (["keys", "create", ""], 4, "display_name"),
    (["keys", "create"], 2, "NAME"),
    (["keys", "create", "a key", "--scope", "everything"], 2, "everything"),
    (["nonsense"], 2, "nonsense"),
    (["keys", "list", "--database-url", "nonsense"], 2, "--database-url"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), FAILING)
def test_a_command_that_fails_says_why_on_standard_error(
    shell: Shell, arguments: list[str], code: int, text: str
) -> None:
    shell("keys", "create", "first")
    ended = shell(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert text in ended.err
    assert "Traceback" not in ended.err


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    run(tmp_path, "keys", "create", "a key")
    ended = subprocess.run(  # noqa: S603  # no shell of the user's
        ["/bin/sh", "-c", 'exec "$@" >/dev/full', "", *COMMAND, "keys", "list"],
        cwd=tmp_path,
        env=environment(tmp_path, {}),
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    said = Ended(ended.returncode, "", ended.stderr).said
    assert (ended.returncode, said) == (1, "usermeta: reading or writing: No space left on device\n")


# Through a running server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a store that a server owns."""
    return tmp_path_factory.mktemp("owned")


@pytest.fixture(scope="module")
def admin(store: Path) -> str:
    """Return the admin key of the store, made before the server began."""
    return run(store, "keys", "create", "admin").out.strip()


@pytest.fixture(scope="module")
def server(store: Path, admin: str) -> Iterator[Running]:
    """Return a running server that owns the store."""
    assert admin
    with served(store) as running:
        yield running


def through(server: Running, store: Path, key: str, *arguments: str) -> Ended:
    """Run a command on a store that a server owns."""
    return run(store, *arguments, USERMETA_ADDRESS=server.address, USERMETA_KEY=key)


def test_keys_are_made_listed_and_revoked_through_the_server(server: Running, store: Path, admin: str) -> None:
    made = through(server, store, admin, "keys", "create", "through", "--scope", "read")
    assert (made.code, made.said) == (0, "")
    assert SECRET.fullmatch(made.out)
    made_id = key_id(made.out)
    revoked = through(server, store, admin, "keys", "revoke", made_id)
    assert (revoked.code, revoked.out, revoked.said) == (0, "", "")
    lines = listed(through(server, store, admin, "keys", "list"))
    assert lines.keys() == {key_id(admin), made_id}
    assert lines[made_id].split()[1] == "read"
    assert "revoked 2" in lines[made_id]


def test_what_the_server_refuses_is_one_line(server: Running, store: Path, admin: str) -> None:
    ended = through(server, store, admin, "token", "user_nobody")
    assert (ended.code, ended.out) == (3, "")
    (line,) = ended.said.splitlines()
    assert "USER_NOT_FOUND" in line


def test_without_a_key_a_command_says_so_and_works_nowhere(server: Running, store: Path) -> None:
    ended = through(server, store, "", "keys", "list")
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert "USERMETA_KEY" in line


def test_a_key_that_is_not_good_is_refused(server: Running, store: Path) -> None:
    ended = through(server, store, "sk_nonsense", "keys", "list")
    assert (ended.code, ended.out) == (4, "")
    (line,) = ended.said.splitlines()
    assert "UNAUTHENTICATED" in line
    assert "CREDENTIAL_INVALID" in line


def test_a_server_that_is_not_there_is_one_line(server: Running, store: Path) -> None:
    assert server.address
    ended = run(store, "keys", "list", USERMETA_ADDRESS="127.0.0.1:1", USERMETA_KEY="sk_x")
    assert (ended.code, ended.out) == (5, "")
    (line,) = ended.said.splitlines()
    assert "127.0.0.1:1" in line


def test_a_store_that_a_server_owns_is_left_alone_and_the_way_through_the_server_is_said(
    server: Running, store: Path
) -> None:
    ended = run(store, "keys", "list")
    assert (ended.code, ended.out) == (5, "")
    (line,) = ended.err.splitlines()
    assert str(server.process.pid) in line
    assert "--key" in line
    assert "--address" in line


# Which scope a key has by default


def key(*scopes: str, **times: int) -> SecretKey:
    """Return a key with these scopes; times are seconds since the epoch."""
    made = SecretKey(scopes=[Scope.Value(f"SCOPE_{scope}") for scope in scopes])
    for name, seconds in times.items():
        getattr(made, name).seconds = seconds
    return made


class Keys:
    """A server that has keys, a page for each."""

    def __init__(self, keys: list[SecretKey]) -> None:
        self._keys = keys

    async def ListSecretKeys(self, request: pb.ListSecretKeysRequest) -> pb.ListSecretKeysResponse:  # noqa: N802  # as generated
        """Return the next page."""
        place = int(request.page_token or 0)
        more = str(place + 1) if place + 1 < len(self._keys) else ""
        return pb.ListSecretKeysResponse(secret_keys=self._keys[place : place + 1], next_page_token=more)


FAR = 1 << 40

DEFAULTS = [
    ([], "ADMIN"),
    ([key("ADMIN")], "WRITE"),
    ([key("ADMIN", expire_time=FAR)], "WRITE"),
    ([key("READ"), key("WRITE"), key("READ", "ADMIN")], "WRITE"),
    ([key("READ"), key("WRITE")], "ADMIN"),
    ([key("ADMIN", revoke_time=1), key("ADMIN", expire_time=1)], "ADMIN"),
]


@pytest.mark.parametrize(("there", "scope"), DEFAULTS)
async def test_a_key_is_for_everything_by_default_where_no_admin_key_works(there: list[SecretKey], scope: str) -> None:
    stub = cast("BackendServiceAsyncStub", Keys(there))
    assert (await _default_scope(stub)).name == scope
