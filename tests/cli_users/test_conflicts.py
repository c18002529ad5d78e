"""`usermeta users conflicts`: whose identifier belongs to another since it is compared otherwise."""

import asyncio
from pathlib import Path

from tests.cli_users.support import Shell, shell_on
from tests.old_folds import Row, make_old
from usermeta_server.cli.records import PAGE_SIZE


def conflicts(shell: Shell) -> list[list[str]]:
    """Return the lines of the table below its titles."""
    title, *lines = shell.good("users", "conflicts").splitlines()
    assert title.split() == ["ID", "FIELD", "VALUE", "OWNER"]
    return [line.split() for line in lines]


def test_conflicts_name_the_field_the_text_and_its_owner_until_they_are_mended(tmp_path: Path) -> None:
    """What cannot be seen is shown escaped; a new name ends a conflict, and so does the same one once it is free."""
    asyncio.run(make_old(tmp_path / "usermeta.db"))
    with shell_on(tmp_path) as shell:
        assert conflicts(shell) == [
            ["user_1", "email_address", "a@bücher.de", "user_2"],
            ["user_4", "username", r"a\xaddmin", "user_9"],
            ["user_5", "username", r"ad\xadmin", "user_9"],
            ["user_6", "username", r"\u200b", "nobody"],
        ]
        shell.good("users", "set", "user_5", "--username", "other")
        shell.good("users", "set", "user_6", "--username", "")
        shell.good("users", "set", "user_2", "--email-address", "")
        assert conflicts(shell) == [
            ["user_1", "email_address", "a@bücher.de", "nobody"],
            ["user_4", "username", r"a\xaddmin", "user_9"],
        ]
        shell.good("users", "set", "user_1", "--email-address", "a@bücher.de")
        assert conflicts(shell) == [["user_4", "username", r"a\xaddmin", "user_9"]]


def test_conflicts_are_found_on_every_page(tmp_path: Path) -> None:
    rows = [Row(f"user_{number:03}", f"name {number:03}") for number in range(2 * PAGE_SIZE + 1)]
    lost = [
        Row(f"{row.id}_", f"{row.username[:-1]}\u00ad{row.username[-1]}", create_time=2) for row in rows[::PAGE_SIZE]
    ]
    asyncio.run(make_old(tmp_path / "usermeta.db", [*rows, *lost]))
    with shell_on(tmp_path) as shell:
        assert [(line[0], line[-1]) for line in conflicts(shell)] == [(each.id, each.id[:-1]) for each in lost]


def test_without_conflicts_the_table_has_no_lines(own: Shell) -> None:
    assert conflicts(own) == []
