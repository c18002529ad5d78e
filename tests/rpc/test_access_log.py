"""The access log: one line for each call, and never a credential or a document."""

import json
import time
from pathlib import Path
from typing import Any, Final

import pytest

from tests.rpc.methods import MARK, Subject, call, new_subject, sample
from tests.support import BACKEND, FRONTEND, Service, bearer, log_file, refused, request_id, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User
from usermeta_server.admission.access_log import AccessLog
from usermeta_server.admission.observers import EndedCall
from usermeta_server.logs import LineWriter

KEYS: Final = ["time", "method", "audience", "principal", "status", "reason", "milliseconds", "request_id"]
SOME_ID: Final = request_id()


async def traffic(service: Service, subject: Subject) -> None:
    """Make a good call for each audience, and refused ones."""
    user = User(username="Logged-Name", email_address="logged@example.com")
    user.private_metadata.update({MARK: MARK})
    await service.admin.CreateUser(pb.CreateUserRequest(user=user, request_id=SOME_ID))
    await refused(service.get("user_nobody"), "USER_NOT_FOUND")
    path = f"{FRONTEND}MergeUserMetadata"
    await call(service, path, sample(path, subject), bearer(subject.session))
    await refused(service.raw(f"{BACKEND}GetUser", b"", bearer(subject.session)), "CREDENTIAL_INVALID")
    await refused(service.raw(f"{FRONTEND}GetUser", b""), "CREDENTIAL_MISSING")


async def logged(folder: Path, mode: str) -> tuple[list[dict[str, Any]], str, list[str]]:
    """Return the lines of an access log of some traffic, its whole text, and the secrets that were used."""
    file = folder / "access.log"
    with log_file(file) as descriptor:
        async with serving(settings(folder, access_log=mode), log_descriptor=descriptor) as service:
            subject = await new_subject(service)
            await traffic(service, subject)
            secrets = [service.admin_key, service.admin_key[-43:], subject.session, MARK, "Logged-Name", "logged@"]
    text = read(file)
    return [json.loads(line) for line in text.splitlines()], text, secrets


def read(file: Path) -> str:
    """Return a file's text."""
    return file.read_text()


async def test_every_call_is_a_line_of_json(tmp_path: Path) -> None:
    lines, _, _ = await logged(tmp_path, "all")
    assert [list(line) for line in lines] == [KEYS] * len(lines)
    told = [(line["audience"], line["method"].rpartition("/")[2], line["status"], line["reason"]) for line in lines]
    assert told[-5:] == [
        ("backend", "CreateUser", "OK", ""),
        ("backend", "GetUser", "NOT_FOUND", "USER_NOT_FOUND"),
        ("frontend", "MergeUserMetadata", "OK", ""),
        ("", "GetUser", "UNAUTHENTICATED", "CREDENTIAL_INVALID"),
        ("", "GetUser", "UNAUTHENTICATED", "CREDENTIAL_MISSING"),
    ]


async def test_a_line_says_who_called_how_long_and_under_which_request_id(tmp_path: Path) -> None:
    began = time.monotonic()
    lines, _, _ = await logged(tmp_path, "all")
    passed = 1000 * (time.monotonic() - began)
    made, _, merged, refused_, _ = lines[-5:]
    assert made["principal"].startswith("secret_key:key_")
    assert made["request_id"] == SOME_ID
    assert merged["principal"].startswith("user:user_")
    assert refused_["principal"] == ""
    assert 0 < sum(line["milliseconds"] for line in lines) <= passed, "the calls went one after the other"
    assert all(line["time"].endswith("Z") and len(line["time"]) == len("2026-01-01T00:00:00.000Z") for line in lines)


async def test_errors_only_is_errors_only(tmp_path: Path) -> None:
    lines, _, _ = await logged(tmp_path, "errors")
    assert [line["status"] for line in lines] == ["NOT_FOUND", "UNAUTHENTICATED", "UNAUTHENTICATED"]


async def test_off_is_off(tmp_path: Path) -> None:
    _, text, _ = await logged(tmp_path, "off")
    assert text == ""


@pytest.mark.parametrize("mode", ["all", "errors"])
async def test_no_credential_and_no_content_is_ever_logged(tmp_path: Path, mode: str) -> None:
    lines, text, secrets = await logged(tmp_path, mode)
    assert lines
    assert not [secret for secret in secrets if secret in text]


async def test_a_request_id_cannot_forge_a_line(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    with log_file(file) as descriptor:
        async with serving(settings(tmp_path), log_descriptor=descriptor):
            pass
        chosen = settings(tmp_path, access_log="errors")
        async with serving(chosen, log_descriptor=descriptor) as service:
            request = pb.CreateUserRequest(request_id='x"}\n{"status": "OK"\x1b[31m')
            await refused(service.admin.CreateUser(request), "FIELD_INVALID")
    (line,) = map(json.loads, read(file).splitlines())
    assert (line["status"], list(line)) == ("INVALID_ARGUMENT", KEYS)


@pytest.mark.parametrize(("text", "shown"), [("plain", "plain"), ("a\nb", r"'a\nb'"), ("\x1b[2J", r"'\x1b[2J'")])
async def test_on_a_terminal_a_call_is_a_line_of_words_that_cannot_move_the_cursor(
    tmp_path: Path, text: str, shown: str
) -> None:
    file = tmp_path / "access.log"
    with log_file(file) as descriptor, LineWriter(descriptor) as lines:
        lines.terminal = True
        log = AccessLog(lines)
        log.record(EndedCall(None, "/a.B/C", "OK", None, 1_500_000, text))
        log.flush()
    assert read(file).split(" ", 1)[1] == f"/a.B/C OK 1.5 {shown}\n"
