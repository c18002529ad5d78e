"""The suite is whole: it calls every method that the contract promises."""

from pathlib import Path

import pytest

from usermeta_server.store.contract import ChangeLog, Reader, Upkeep, Writer
from usermeta_server.store.store import Store

SIDES = (Reader, ChangeLog, Writer, Upkeep)
PROMISED = sorted({name for side in SIDES for name in vars(side) if not name.startswith("_")})
SUITE = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]


@pytest.mark.parametrize("name", PROMISED)
def test_a_test_on_every_engine_calls_it(name: str) -> None:
    assert hasattr(Store, name) or name == "condition"
    assert any(f"store.{name}" in text for text in SUITE if "open_store" in text)
