"""`make demo` tells the story, in plain text, and does not tell it right when it went wrong."""

import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import DEADLINE

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"


@pytest.fixture
def demo() -> ModuleType:
    """Return the script as a module."""
    spec = spec_from_file_location("demo", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_shows_what_each_audience_sees_side_by_side() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ended = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert ended.stdout.isascii()
    assert "\x1b" not in ended.stdout
    cells = {line.split("|")[0].strip(): [cell.strip() for cell in line.split("|")[1:]] for line in lines}
    assert cells["private_metadata"] == ['billing_id: "cus_42"', "-", "-"]
    assert cells["public_metadata"] == ['plan: "pro"'] * 3
    assert cells["external_id"] == ["crm-1815", "-", "-"]


@pytest.mark.parametrize("audience", ["backend", "the user", "a visitor"])
def test_it_fails_if_an_audience_sees_anything_else(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], audience: str
) -> None:
    seen = {**demo.EXPECTED, audience: {**demo.EXPECTED[audience], "first_name": "Ada"}}
    monkeypatch.setattr(demo, "EXPECTED", seen)
    assert demo.main() == 1
    assert "WRONG" in capfd.readouterr().out


async def test_it_fails_if_nothing_is_refused(demo: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    story = demo.Story(colour=False)

    async def allowed() -> None:
        return None

    await story.refused("a visitor reads everything", allowed(), "UNAUTHENTICATED CREDENTIAL_MISSING")
    assert story.wrong == 1
    assert "no refusal" in capfd.readouterr().out
