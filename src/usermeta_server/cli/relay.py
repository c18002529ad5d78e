"""`usermeta relay`: follows the watch, and posts each change to a webhook."""

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from usermeta.backend.v1.backend_service_pb2 import WatchUsersRequest
from usermeta.backend.v1.user_change_pb2 import UserChange
from usermeta_server.cli.connection import backend, connection_options
from usermeta_server.cli.follow import TokenFile, backoff, follow
from usermeta_server.cli.options import given, settings_options
from usermeta_server.cli.webhook import Endpoint, Event, cloud_event, decode_secret
from usermeta_server.errors import RefusedError
from usermeta_server.settings import RelaySettings

if TYPE_CHECKING:
    from usermeta.backend.v1.backend_service_pb2_grpc import BackendServiceAsyncStub  # only in the stubs

_MAX_DELAY: Final = 300.0
"""Seconds between two attempts to deliver an event, unless the receiver asks for more."""
_GONE: Final = 410


@click.command()
@click.argument("url")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="A file that keeps the place, written after what came before was delivered.",
)
@click.option("--include-private", is_flag=True, help="Send private documents too.")
@click.option("--source", default="/usermeta", show_default=True, help="The CloudEvents source: which server this is.")
@settings_options(RelaySettings)
@connection_options
def relay(url: str, state: Path, *, include_private: bool, source: str, **flags: Any) -> None:  # noqa: ANN401  # as click gives them
    """Post each change of a user to URL, as a CloudEvent signed as Standard Webhooks has it.

    It begins with what is written from now on, goes on where it was whenever it is started again, and delivers each
    change at least once, those of one user in order. What is not taken with a status of 2xx is tried again for ever;
    410 ends it.
    """
    secret = decode_secret(given(RelaySettings, flags).webhook_secret)
    with contextlib.closing(Endpoint(url, secret)) as endpoint:
        deliveries = Relay(endpoint, source, include_private=include_private)

        async def run() -> None:
            async with backend(flags) as stub:
                await deliveries.run(stub, TokenFile(state))

        asyncio.run(run())


class Relay:
    """Delivers changes: those of one user one after the other, those of several at once."""

    def __init__(self, endpoint: Endpoint, source: str, *, include_private: bool) -> None:
        """Deliver to an endpoint, as events of a source."""
        self._endpoint = endpoint
        self._source = source
        self._include_private = include_private

    async def run(self, stub: "BackendServiceAsyncStub", kept: TokenFile) -> None:
        """Deliver what is written, for ever.

        Raises:
            AioRpcError: the server refuses for good.
            OperatorError: the endpoint does (RefusedError), or the file of the place cannot be read or written.
        """
        async for response in follow(stub, WatchUsersRequest(resume_token=kept.read())):
            await self._deliver([event.change for event in response.events])
            kept.write(response.resume_token)

    async def _deliver(self, changes: Sequence[UserChange]) -> None:
        users: dict[str, list[Event]] = {}
        for change in changes:
            event = cloud_event(change, self._source, include_private=self._include_private)
            users.setdefault(change.user_id, []).append(event)
        await asyncio.gather(*(self._deliver_in_order(events) for events in users.values()))

    async def _deliver_in_order(self, events: Sequence[Event]) -> None:
        for event in events:
            for attempt in itertools.count():
                answer = await self._endpoint.post(event)
                if answer.taken:
                    break
                if answer.status == _GONE:
                    raise RefusedError("the endpoint answers 410: it wants no more events")
                if attempt == 0:
                    click.echo(f"usermeta: {event.id} is not taken ({answer.text}): it is tried again", err=True)
                await asyncio.sleep(max(answer.retry_after, backoff(attempt, _MAX_DELAY)))
