"""What tests of the command line begin with."""

from pathlib import Path

import pytest

from tests.cli.processes import Shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Return what runs commands on a store of this test's own."""
    return Shell(tmp_path, monkeypatch, capsys)
