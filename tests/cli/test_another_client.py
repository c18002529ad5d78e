"""A client that knows nothing of Python or our stubs: `buf curl`, by reflection."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from google.rpc.error_details_pb2 import ErrorInfo

from tests.cli.processes import Running, environment, run, served
from tests.support import DEADLINE

BUF = str(Path(sys.executable).with_name("buf"))


def curl(server: Running, method: str, token: str, body: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
    """Call a method as one would by hand."""
    command = [BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", json.dumps(body)]
    command += ["-H", f"authorization: Bearer {token}", f"http://{server.address}/usermeta.{method}"]
    folder = Path(__file__).parent
    return subprocess.run(  # noqa: S603  # no shell
        command, capture_output=True, text=True, timeout=DEADLINE, check=False, env=environment(folder, {})
    )


def answer(called: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """Return the JSON that a call printed."""
    assert called.returncode == 0, called.stderr
    read: dict[str, Any] = json.loads(called.stdout)
    return read


def reason(called: "subprocess.CompletedProcess[str]") -> str:
    """Return the reason in the error that a call printed."""
    (detail,) = json.loads(called.stderr)["details"]
    return ErrorInfo.FromString(base64.b64decode(detail["value"] + "==")).reason


USER: Final = {
    "username": "ada",
    "publicMetadata": {"plan": "pro"},
    "privateMetadata": {"credits": 10},
    "unsafeMetadata": {"theme": "light"},
}
STEPS: Final = [
    {"op": "OP_TEST", "path": "/credits", "value": 10},
    {"op": "OP_MOVE", "from": "/credits", "path": "/points"},
]


def test_a_client_without_our_code_makes_a_user_and_acts_as_it(tmp_path: Path) -> None:
    key = run(tmp_path, "keys", "create", "first").out.strip()
    with served(tmp_path) as server:
        made = answer(curl(server, "backend.v1.BackendService/CreateUser", key, {"user": USER}))["user"]
        assert {name: made[name] for name in USER} == USER
        session = run(tmp_path, "token", made["id"], USERMETA_ADDRESS=server.address, USERMETA_KEY=key).out.strip()
        acts_as_the_user(server, session)
        patch = {"userId": made["id"], "privateMetadata": STEPS}
        patched = answer(curl(server, "backend.v1.BackendService/PatchUserMetadata", key, patch))["user"]
        assert patched["privateMetadata"] == {"points": 10}
        denied = curl(server, "backend.v1.BackendService/GetUser", session, {"userId": made["id"]})
        assert reason(denied) == "CREDENTIAL_INVALID"


def acts_as_the_user(server: Running, session: str) -> None:
    """Merge into the user's own document, and fail to write the private one: there is no field for it."""
    method = "frontend.v1.FrontendService/MergeUserMetadata"
    change = {"theme": "dark", "tour": {"seen": [1, 2.5, None, True]}}
    merged = answer(curl(server, method, session, {"unsafeMetadata": change}))["user"]
    assert merged["unsafeMetadata"] == change
    assert merged["publicMetadata"] == {"plan": "pro"}
    assert "privateMetadata" not in merged
    forged = curl(server, method, session, {"privateMetadata": {"credits": 1000}})
    assert forged.returncode != 0
    assert "privateMetadata" in forged.stderr
