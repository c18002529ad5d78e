"""The one server that most tests over a channel share: tests keep apart by making users of their own."""

from collections.abc import AsyncIterator

import hypothesis
import pytest
import pytest_asyncio

from tests.support import Service, serving, settings

# How long an example takes says nothing: the machine may be busy with something else.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """Return a running server that all tests share."""
    async with serving(settings(tmp_path_factory.mktemp("shared"))) as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a test that uses the shared server run in that server's event loop."""
    in_the_servers_loop = pytest.mark.asyncio(loop_scope="session")
    for item in items:
        if isinstance(item, pytest.Function) and "service" in item.fixturenames:
            item.add_marker(in_the_servers_loop, append=False)
