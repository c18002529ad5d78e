"""`usermeta watch` and `usermeta history`, on a running server."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.history.support import merge
from tests.support import DEADLINE, Service, serving, settings, until
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User


async def start(service: Service, *arguments: str) -> asyncio.subprocess.Process:
    """Start a command against a server."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "usermeta_server", *arguments),
        env={"PYTHONPATH": ":".join(sys.path), "USERMETA_ADDRESS": service.address, "USERMETA_KEY": service.admin_key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def output(service: Service, *arguments: str) -> str:
    """Run a command to its end, and return what it printed."""
    process = await start(service, *arguments)
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE)
    assert process.returncode == 0, err
    return out.decode()


async def lines(process: asyncio.subprocess.Process, count: int) -> list[dict[str, Any]]:
    """Return the next lines of JSON that a command prints."""
    assert process.stdout
    return [json.loads(await asyncio.wait_for(process.stdout.readline(), DEADLINE)) for _ in range(count)]


async def test_watch(tmp_path: Path) -> None:
    """It prints events as JSON; with --resume another run goes on after what was printed."""
    arguments = ("watch", "--snapshot", "--resume", str(tmp_path / "token"))
    async with serving(settings(tmp_path)) as service:
        user = await service.user(username="ada", public_metadata={"n": 1})
        process = await start(service, *arguments)
        (snapshot,) = await lines(process, 1)
        assert snapshot["snapshot_user"]["user"]["public_metadata"] == {"n": 1}
        await merge(service, user.id, public={"n": 2})
        (written,) = await lines(process, 1)
        assert written["change"]["kind"] == "KIND_METADATA_WRITTEN"
        token = (tmp_path / "token").read_text()
        await merge(service, user.id, public={"n": 3})
        await lines(process, 1)
        await until(lambda: (tmp_path / "token").read_text() != token)
        process.kill()
        await process.communicate()
        await merge(service, user.id, public={"n": 4})
        again = await start(service, *arguments)
        told = await lines(again, 1)
        while told[-1]["change"]["after"]["public_metadata"]["n"] < 4:
            told += await lines(again, 1)
        assert told[0]["change"]["after"]["public_metadata"]["n"] >= 3, "it went on from the start, or with a snapshot"
        again.kill()
        await again.communicate()


async def test_history(tmp_path: Path) -> None:
    """A block for each change, newest first: what was and what is, path by path; plain text where no terminal is."""
    async with serving(settings(tmp_path)) as service:
        user = await service.user(username="ada", public_metadata={"plan": "free", "a b": {"c": [1]}})
        await merge(service, user.id, public={"plan": "pro", "a b": {"c": [1, 2]}, "new": {"x": 1}})
        await service.admin.UpdateUser(pb.UpdateUserRequest(user=User(id=user.id, first_name="Ada")))
        await merge(service, user.id, unsafe={"t": "\x1b[31m\u202e", "\x1b": 1})
        printed = await output(service, "history", user.id)
        limited = await output(service, "history", user.id, "--limit", "1")
        await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=user.id))
        erased = await output(service, "history", user.id)
    blocks = printed.strip().split("\n\n")
    assert [re.sub(r"^\d+  \S+Z  ", "", block.split("\n")[0]) for block in blocks] == [
        f"{kind}  by backend {_principal(printed)}"
        for kind in ("metadata written", "profile updated", "metadata written", "created")
    ]
    assert blocks[0].split("\n")[1:] == [
        r'    unsafe_metadata."\u001b": (none) -> 1',
        r'    unsafe_metadata.t: (none) -> "\u001b[31m\u202e"',
    ]
    assert blocks[1].split("\n")[1:] == ['    first_name: (none) -> "Ada"']
    assert blocks[2].split("\n")[1:] == [
        '    public_metadata."a b".c: [1] -> [1, 2]',
        "    public_metadata.new.x: (none) -> 1",
        '    public_metadata.plan: "free" -> "pro"',
    ]
    assert '    username: (none) -> "ada"' in blocks[3].split("\n")
    assert limited.strip() == blocks[0]
    assert erased.count("(erased)") == 4
    assert '"ada"' not in erased


def _principal(printed: str) -> str:
    return str(re.findall(r"secret_key:key_\w+", printed)[0])
