"""`usermeta users conflicts`: whose identifier belongs to another since it is compared otherwise."""

import asyncio
from pathlib import Path

from tests.cli_users.support import Shell, shell_on
from tests.old_folds import make_old


def conflicts(shell: Shell) -> list[list[str]]:
    """Return the lines of the table below its titles."""
    title, *lines = shell.good("users", "conflicts").splitlines()
    assert title.split() == ["ID", "FIELD", "VALUE", "OWNER"]
    return [line.split() for line in lines]


def test_conflicts_name_the_field_the_text_and_its_owner_until_they_are_mended(tmp_path: Path) -> None:
    """What cannot be seen is shown escaped; a new name ends a conflict, and so does the owner's going."""
    asyncio.run(make_old(tmp_path / "usermeta.db"))
    with shell_on(tmp_path) as shell:
        assert conflicts(shell) == [
            ["user_1", "email_address", "a@bücher.de", "user_2"],
            ["user_4", "username", r"a\xaddmin", "user_9"],
            ["user_5", "username", r"ad\xadmin", "user_9"],
        ]
        shell.good("users", "set", "user_5", "--username", "other")
        shell.good("users", "set", "user_2", "--email-address", "")
        assert conflicts(shell) == [["user_4", "username", r"a\xaddmin", "user_9"]]


def test_without_conflicts_the_table_has_no_lines(own: Shell) -> None:
    assert conflicts(own) == []
