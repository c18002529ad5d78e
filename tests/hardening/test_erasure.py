"""Erasing a user, down to the bytes of the database while the server runs."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.support import Service, refused, request_id, struct, until
from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.frontend.v1 import frontend_service_pb2 as frontend_pb
from usermeta.frontend.v1.sign_up_pb2 import SignUp
from usermeta_server.caller import Audience, Caller, Identity, Principal, PrincipalKind
from usermeta_server.core.writes import Intent
from usermeta_server.model import Actor

NEEDLES = (b"needle-private", b"needle-external", b"needle@example.com", b"needle-name")


def found(folder: Path) -> set[bytes]:
    """Return which of the needles stand anywhere in the files of the database."""
    data = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
    return {needle for needle in NEEDLES if needle in data}


async def test_what_is_erased_leaves_the_files_of_a_running_server(own_service: Service) -> None:
    """Neither the database nor its write-ahead log keeps what a deleted user was."""
    folder = own_service.database.parent
    user = await own_service.user(
        username="needle-name",
        email_address="needle@example.com",
        external_id="needle-external",
        private_metadata={"a": "needle-private"},
    )
    again = pb.MergeUserMetadataRequest(user_id=user.id, private_metadata=struct({"b": 1}))
    await own_service.admin.MergeUserMetadata(again)
    assert found(folder) == set(NEEDLES)
    await own_service.admin.DeleteUser(pb.DeleteUserRequest(user_id=user.id))
    await own_service.server.app.store.sweep()
    await until(lambda: not found(folder))


async def test_what_a_reader_held_in_the_log_goes_with_the_next_sweep(own_service: Service) -> None:
    """The log cannot be emptied under somebody who reads, a backup say: that is made up for."""
    folder = own_service.database.parent
    with closing(sqlite3.connect(own_service.database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM users").fetchone()
        user = await own_service.user(username="needle-name")
        await own_service.admin.DeleteUser(pb.DeleteUserRequest(user_id=user.id))
        await own_service.server.app.store.sweep()
        assert found(folder) == {b"needle-name"}
    await own_service.server.app.store.sweep()
    assert found(folder) == set()


async def test_an_open_sign_up_under_the_erased_identity_goes_too(own_service: Service) -> None:
    """What was begun under the identity of an erased user would bring them back."""
    user = await own_service.user(external_id="needle-external", email_address="a@example.com")
    begun = await own_service.frontend().CreateSignUp(
        frontend_pb.CreateSignUpRequest(sign_up=SignUp(email_address="b@example.com"))
    )
    attach = pb.UpdateSignUpRequest(sign_up_id=begun.sign_up.id)
    attach.sign_up.external_id = "needle-external"
    await own_service.admin.UpdateSignUp(attach)
    await own_service.admin.DeleteUser(pb.DeleteUserRequest(user_id=user.id))
    holder = own_service.frontend(begun.sign_up_token)
    await refused(holder.GetSignUp(frontend_pb.GetSignUpRequest()), "CREDENTIAL_EXPIRED")


async def test_a_sign_up_that_is_begun_in_the_same_commit_after_the_end_stays(own_service: Service) -> None:
    """Who was erased may come again at once; and a repetition of that request begins no other sign-up."""
    user = await own_service.user(external_id="needle-external")
    identity = Identity("issuer", "needle", "needle-external", "", email_address_verified=False, expire_time=1 << 60)
    principal = Principal(PrincipalKind.IDENTITY, identity.external_id, identity=identity)
    caller, actor = Caller(Audience.FRONTEND, "", principal), Actor("frontend", str(principal))
    use_cases, intent = own_service.server.app.use_cases, Intent(actor, "CreateSignUp", request_id(), b"the same")
    _, begun = await asyncio.gather(
        use_cases.users.delete(user.id, "", Intent(Actor("backend", "test"), "DeleteUser")),
        use_cases.sign_ups.create(caller, {}, {}, intent),
    )
    holder = own_service.frontend(begun.token)
    assert (await holder.GetSignUp(frontend_pb.GetSignUpRequest())).sign_up.id == begun.sign_up.record.id
    again = await use_cases.sign_ups.create(caller, {}, {}, intent)
    assert again.sign_up.record.id == begun.sign_up.record.id
