"""What the relay sends: CloudEvents, signed as Standard Webhooks has it, to https or to this machine."""

import base64
import json
import time
from email.utils import formatdate

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support import struct
from usermeta.backend.v1.user_change_pb2 import Actor, UserChange
from usermeta.backend.v1.user_pb2 import MetadataEtags, User
from usermeta_server import policy
from usermeta_server.cli.webhook import Endpoint, Event, cloud_event, decode_secret, seconds_of, signed_headers
from usermeta_server.errors import OperatorError
from usermeta_server.model import Document
from usermeta_server.policy import Viewer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def user(plan: str) -> User:
    """Return a user with two documents."""
    return User(
        id="user_1",
        public_metadata=struct({"plan": plan}),
        private_metadata=struct({"n": 1}),
        metadata_etags=MetadataEtags(public_metadata="p", private_metadata="q"),
    )


CHANGE = UserChange(
    change_id=7,
    time=Timestamp(seconds=1_700_000_000, nanos=123_456_000),
    user_id="user_1",
    kind=UserChange.KIND_METADATA_WRITTEN,
    actor=Actor(audience="backend", principal="secret_key:key_1"),
    changed_fields=["public_metadata", "private_metadata"],
    before=user("free"),
    after=user("pro"),
)


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks libraries."""
    event = Event("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}')
    headers = signed_headers(decode_secret(SECRET), event, 1614265330)
    assert headers == {
        "webhook-id": event.id,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_change_as_an_event() -> None:
    """It has what CloudEvents requires, an id that is the same every time, and the change without private documents."""
    event = cloud_event(CHANGE, "/usermeta", include_private=False)
    assert event == cloud_event(CHANGE, "/usermeta", include_private=False)
    body = json.loads(event.body)
    data = body.pop("data")
    assert body == {
        "specversion": "1.0",
        "id": event.id,
        "source": "/usermeta",
        "type": "usermeta.user.metadata_written",
        "subject": "user_1",
        "time": "2023-11-14T22:13:20.123456Z",
        "datacontenttype": "application/json",
    }
    assert data["changed_fields"] == ["public_metadata", "private_metadata"]
    assert (data["before"]["public_metadata"], data["after"]["public_metadata"]) == ({"plan": "free"}, {"plan": "pro"})
    for side in ("before", "after"):
        assert "private_metadata" not in data[side]
        assert data[side]["metadata_etags"] == {"public_metadata": "p"}


@pytest.mark.parametrize("name", Document)
def test_a_document_and_its_etag_come_unasked_exactly_if_some_frontend_may_read_it(name: Document) -> None:
    user = User(id="user_1", metadata_etags=MetadataEtags(**{name: "e"}))
    getattr(user, name).update({"a": 1})
    data = json.loads(cloud_event(UserChange(after=user), "/usermeta", include_private=False).body)["data"]
    shown = any(name in policy.VISIBLE[viewer] for viewer in (Viewer.SELF, Viewer.ANYONE))
    assert (name in data["after"]) is (name in data["after"]["metadata_etags"]) is shown


def test_private_documents_when_asked_for() -> None:
    """They come only then, their whole numbers as such."""
    event = cloud_event(CHANGE, "/usermeta", include_private=True)
    assert b'"private_metadata":{"n":1}' in event.body


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_****", SECRET.removeprefix("whsec_"), "whsec_" + base64.b64encode(b"x" * 65).decode()],
)
def test_a_bad_secret(secret: str) -> None:
    """It is refused, and not shown."""
    with pytest.raises(OperatorError) as caught:
        decode_secret(secret)
    assert "USERMETA_WEBHOOK_SECRET" in str(caught.value)
    assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://example.com/hook", "http://127.0.0.1:1/", "http://[::1]/", "http://localhost"]
)
def test_where_it_posts(url: str) -> None:
    """To https anywhere, to http on this machine."""
    Endpoint(url, b"")


@pytest.mark.parametrize(
    "url", ["http://example.com/", "http://10.0.0.1/", "ftp://localhost/", "hook", "https://a@b.c/"]
)
def test_where_it_does_not_post(url: str) -> None:
    """To http elsewhere, to other schemes, with a password in the URL."""
    with pytest.raises(OperatorError):
        Endpoint(url, b"")


def test_retry_after() -> None:
    """It is seconds or a date; what is neither, or in the past, is nothing; an hour is the most."""
    now = time.time()
    assert seconds_of("", now) == 0
    assert seconds_of("7", now) == 7
    assert seconds_of("99999999999999999999", now) == 3600
    assert seconds_of(formatdate(now + 20, usegmt=True), now) == pytest.approx(20, abs=1)
    assert seconds_of(formatdate(now - 20, usegmt=True), now) == 0
    assert seconds_of("soon", now) == 0
