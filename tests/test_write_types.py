"""What the type checker and the source hold: nothing is written or shown without the policy's word."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import usermeta_server

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = Path(usermeta_server.__file__).parent

SNIPPETS: Final = """
from usermeta_server import policy
from usermeta_server.caller import Caller
from usermeta_server.core.metadata import MetadataWrite
from usermeta_server.core.revision import revise
from usermeta_server.core.sign_ups.requirements import SignUpRules
from usermeta_server.core.sign_ups.revision import new_sign_up
from usermeta_server.core.sign_ups.revision import revise as revise_sign_up
from usermeta_server.core.users import new_user
from usermeta_server.ids import Stamp
from usermeta_server.model import Document, ShownSignUp, SignUp, User
from usermeta_server.policy import AllowedWrite, View, Viewer, WriteGrant
from usermeta_server.services.messages import fill
from usermeta_server.store.contract import Draft
from usermeta.backend.v1.user_pb2 import User as Message


def users(draft: Draft, stamp: Stamp, caller: Caller, user: User) -> None:
    values: dict[str, str | bool] = {"private_metadata": "{}"}
    grant = policy.grant_write(caller, user.id, values)
    write = AllowedWrite(grant, values)
    revise(draft, stamp, user, write)
    new_user(draft, stamp, write)
    revise(draft, stamp, user, values)  # refused: arg-type
    revise(draft, stamp, user, grant)  # refused: arg-type
    new_user(draft, stamp, values)  # refused: arg-type
    new_user(draft, stamp, {})  # refused: arg-type
    AllowedWrite(None, values)  # refused: arg-type
    AllowedWrite(values)  # refused: call-arg, arg-type
    AllowedWrite[User](policy.grant_sign_up_write(caller, "", []), values)  # refused: arg-type
    WriteGrant("policy", user.id, frozenset(values))  # refused: arg-type
    write.values["banned"] = True  # refused: index
    write.values = values  # refused: misc
    write.record_id = "user_2"  # refused: misc
    grant.names = frozenset(values)  # refused: misc
    grant.record_id = "user_2"  # refused: misc


def sign_ups(draft: Draft, stamp: Stamp, caller: Caller, sign_up: SignUp, rules: SignUpRules) -> None:
    write = AllowedWrite(policy.grant_sign_up(caller, []), {})
    new_sign_up(draft, stamp, write, 1)
    revise_sign_up(draft, stamp, sign_up, write, rules)
    new_user(draft, stamp, policy.completion_of(caller, sign_up))
    new_sign_up(draft, stamp, {}, 1)  # refused: arg-type
    revise_sign_up(draft, stamp, sign_up, {"external_id": "idp|ada"}, rules)  # refused: arg-type
    new_user(draft, stamp, write)  # refused: arg-type
    new_user(draft, stamp, sign_up._asdict())  # refused: arg-type


def across(draft: Draft, stamp: Stamp, caller: Caller, user: User, sign_up: SignUp, rules: SignUpRules) -> None:
    of_user = AllowedWrite(policy.grant_write(caller, user.id, []), {})
    of_sign_up = AllowedWrite(policy.grant_sign_up_write(caller, sign_up.id, []), {})
    revise(draft, stamp, user, of_sign_up)  # refused: arg-type
    revise_sign_up(draft, stamp, sign_up, of_user, rules)  # refused: arg-type
    new_sign_up(draft, stamp, of_user, 1)  # refused: arg-type
    policy.vouched_for(of_user, caller.principal.identity)  # refused: arg-type, arg-type
    MetadataWrite(caller, of_user, {}, {})  # refused: arg-type
    MetadataWrite(caller, None, {}, {})  # refused: arg-type


def shown(caller: Caller, user: User, sign_up: ShownSignUp) -> None:
    view = policy.view(caller, user)
    fill(Message(), view)
    fill(Message(), user)  # refused: arg-type
    fill(Message(), {"private_metadata": "{}"})  # refused: arg-type
    View("policy", Viewer.BACKEND, {}, user)  # refused: arg-type
    view.viewer = Viewer.BACKEND  # refused: misc
    policy.sign_up_view(sign_up)  # refused: call-arg, arg-type
    policy.created_sign_up_view(caller, sign_up)  # refused: arg-type
    policy.created_sign_up_view(policy.grant_write(caller, user.id, []), sign_up)  # refused: arg-type
"""
"""Uses of what the policy makes. The type checker refuses the lines that say so, with these codes, and no others."""


def test_the_type_checker_refuses_what_the_policy_did_not_make(tmp_path: Path) -> None:
    snippets = tmp_path / "snippets.py"
    snippets.write_text(SNIPPETS)
    command = (sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--no-pretty", snippets)
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    assert not checked.stderr
    found = re.findall(r"snippets\.py:(\d+): error: .*\[([a-z-]+)\]", checked.stdout)
    marked = [
        (str(number), code)
        for number, line in enumerate(SNIPPETS.splitlines(), 1)
        for code in line.partition("# refused: ")[2].split(", ")
        if code
    ]
    assert sorted(found) == sorted(marked), checked.stdout


WRITING: Final = {
    "core/revision.py": {"revise"},
    "core/users.py": {"new_user"},
    "core/sign_ups/revision.py": {"new_sign_up", "revise", "close"},
}
"""The functions that write users and sign-ups: an allowed write's values, or, where a sign-up is closed, none."""


def test_users_and_sign_ups_are_written_by_the_functions_that_take_an_allowed_write_and_by_nothing_else() -> None:
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        if not path.is_relative_to(SOURCE / "store"):
            for function in _writing(ast.parse(path.read_text(encoding="utf-8"))):
                found.setdefault(path.relative_to(SOURCE).as_posix(), set()).add(function)
    assert found == WRITING


def _writing(module: ast.Module) -> Iterator[str]:
    """Yield the names of the functions that put a user or a sign-up into a draft."""
    functions = [each for each in ast.walk(module) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    for node in ast.walk(module):
        match node:
            case ast.Call(ast.Attribute(ast.Attribute(_, "users" | "sign_ups"), "put"), [_, ast.Constant(None)]):
                pass  # it deletes
            case ast.Call(ast.Attribute(ast.Attribute(_, "users" | "sign_ups"), "put")):
                around = [each for each in functions if each.lineno <= node.lineno <= (each.end_lineno or 0)]
                yield max(around, key=lambda function: function.lineno).name
            case _:
                pass
