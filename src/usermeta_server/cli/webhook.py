"""Webhooks as the relay sends them: CloudEvents 1.0 in structured JSON, signed as Standard Webhooks has it.

Written out, for each is a few lines: a signature is one HMAC, an event one JSON object.
"""

import asyncio
import base64
import binascii
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import ipaddress
import math
import ssl
import threading
import time
import urllib.parse
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import orjson

from usermeta.backend.v1.user_change_pb2 import UserChange
from usermeta_server.cli.follow import as_json
from usermeta_server.errors import OperatorError
from usermeta_server.policy import PRIVATE_DOCUMENTS

_THREADS: Final = 8
_TIMEOUT: Final = 20.0
"""Seconds that the receiver may take to answer."""
_MAX_ANSWER: Final = 64 << 10
_MAX_RETRY_AFTER: Final = 3600.0
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # a prefix, not a secret
_SECRET_SIZES: Final = range(24, 65)


class Event(NamedTuple):
    """What is posted: an id that stays the same however often it is sent, and the body."""

    id: str
    body: bytes


class Answer(NamedTuple):
    """What the receiver said: a status (0: nothing), in how many seconds it wants to be asked again, and in words."""

    status: int
    retry_after: float
    text: str

    @property
    def taken(self) -> bool:
        """Whether the event was delivered."""
        return self.status // 100 == 2  # noqa: PLR2004  # the class of statuses that mean success


def cloud_event(change: UserChange, source: str, *, include_private: bool) -> Event:
    """Return the event that tells of a change.

    Its id holds the time too: change ids alone come again after a backup was restored.
    """
    kind = UserChange.Kind.Name(change.kind).removeprefix("KIND_").lower()
    event_id = f"change_{change.change_id}_{change.time.ToMicroseconds()}"
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": f"usermeta.user.{kind}",
        "subject": change.user_id,
        "time": change.time.ToJsonString(),
        "datacontenttype": "application/json",
        "data": as_json(change if include_private else _without_private(change)),
    }
    return Event(event_id, orjson.dumps(event))


def _without_private(change: UserChange) -> UserChange:
    public = UserChange()
    public.CopyFrom(change)
    for side in ("before", "after"):
        if public.HasField(side):
            user = getattr(public, side)
            for document in PRIVATE_DOCUMENTS:
                user.ClearField(document)
                user.metadata_etags.ClearField(document)
    return public


def decode_secret(text: str) -> bytes:
    """Return the key that a Standard Webhooks secret stands for: `whsec_` and 24 to 64 bytes in base64.

    Raises:
        OperatorError: it is missing, or not such a secret.
    """
    form = "USERMETA_WEBHOOK_SECRET must be whsec_ and 24 to 64 bytes in base64"
    try:
        key = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise OperatorError(form) from error
    if not text.startswith(_SECRET_PREFIX) or len(key) not in _SECRET_SIZES:
        raise OperatorError(form)
    return key


def signed_headers(key: bytes, event: Event, now: int) -> Mapping[str, str]:
    """Return the headers of an attempt at a time (seconds since the epoch), as Standard Webhooks 1.0 has them."""
    content = b".".join((event.id.encode(), str(now).encode(), event.body))
    signature = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return {"webhook-id": event.id, "webhook-timestamp": str(now), "webhook-signature": f"v1,{signature}"}


class Endpoint:
    """Where events are posted: over a few connections that are kept, each in a thread of its own."""

    def __init__(self, url: str, key: bytes) -> None:
        """Post to a URL, signing with a key.

        Raises:
            OperatorError: the URL is not one of https, or of http on this machine.
        """
        parts = urllib.parse.urlsplit(url)
        if parts.hostname is None or not (parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts))):
            raise OperatorError(f"{url}: must be an https URL; http is for this machine only")
        if parts.username is not None:
            raise OperatorError("the URL must not hold a user name")
        self._address = (parts.hostname, parts.port)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self._key = key
        self._kept = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self._threads = ThreadPoolExecutor(_THREADS, "usermeta-relay")

    def close(self) -> None:
        """Finish what is being posted, and close the connections."""
        self._threads.shutdown(cancel_futures=True)
        for connection in self._connections:
            connection.close()

    async def post(self, event: Event) -> Answer:
        """Try once to deliver an event."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._post, event)

    def _post(self, event: Event) -> Answer:
        connection = self._connection()
        used = connection.sock is not None
        headers = {"content-type": "application/cloudevents+json", **signed_headers(self._key, event, int(time.time()))}
        try:
            connection.request("POST", self._target, event.body, headers)
            response = connection.getresponse()
            response.read(_MAX_ANSWER)
            if not response.isclosed():
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if used and isinstance(error, ConnectionError):
                # The receiver had closed it in the meantime: that says nothing of this event.
                return self._post(event)
            return Answer(0, 0, f"{type(error).__name__}: {error}")
        retry_after = seconds_of(response.getheader("retry-after", ""), time.time())
        return Answer(response.status, retry_after, str(response.status))

    def _connection(self) -> http.client.HTTPConnection:
        """Return this thread's connection; it connects by itself, and again after it was closed."""
        kept: Any = getattr(self._kept, "connection", None)
        if kept is None and self._tls:
            kept = http.client.HTTPSConnection(*self._address, timeout=_TIMEOUT, context=self._tls)
        elif kept is None:
            kept = http.client.HTTPConnection(*self._address, timeout=_TIMEOUT)
        connection: http.client.HTTPConnection = kept
        if not hasattr(self._kept, "connection"):
            self._kept.connection = connection
            self._connections.append(connection)
        return connection


def _is_here(parts: urllib.parse.SplitResult) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    return parts.hostname == "localhost"


def seconds_of(retry_after: str, now: float) -> float:
    """Return what a Retry-After header asks for (RFC 9110, 10.2.3: seconds or a date), in seconds, an hour at most."""
    seconds = 0.0
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        if retry_after.isdecimal():
            seconds = float(retry_after)
        elif retry_after:
            seconds = email.utils.parsedate_to_datetime(retry_after).timestamp() - now
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER) if math.isfinite(seconds) else _MAX_RETRY_AFTER
