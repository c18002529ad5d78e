"""What tests of the commands about users begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_users.support import Shell, shell_on


@pytest.fixture(scope="package")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Return what runs commands through a server that many tests share."""
    with shell_on(tmp_path_factory.mktemp("shared")) as shell:
        yield shell


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Shell]:
    """Return what runs commands through a server of this test's own."""
    with shell_on(tmp_path) as shell:
        yield shell
