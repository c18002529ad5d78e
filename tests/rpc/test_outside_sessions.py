"""Session tokens of outside issuers over the whole way: who a caller is, and for how long."""

import pytest

from tests.rpc.inspection import rows
from tests.rpc.trusting import THEME, Trusting, begin, join
from tests.support import document, refused, request_id, struct
from usermeta.backend.v1 import backend_service_pb2 as backend_pb
from usermeta.backend.v1.user_pb2 import User
from usermeta.frontend.v1 import frontend_service_pb2 as pb
from usermeta.frontend.v1.user_pb2 import User as OwnUser

pytestmark = pytest.mark.asyncio(loop_scope="session")


# Who a caller is


async def test_an_identity_is_the_user_that_has_it_as_external_id(trusting: Trusting, sub: str) -> None:
    user = await trusting.service.user(external_id=f"a|{sub}", private_metadata={"a": 1}, unsafe_metadata=THEME)
    token = trusting.token(sub)
    assert (await trusting.get(token)).id == user.id
    request = pb.MergeUserMetadataRequest(unsafe_metadata=struct({"n": 1}))
    merged = (await trusting.service.frontend(token).MergeUserMetadata(request)).user
    assert document(merged.unsafe_metadata) == {"theme": "dark", "n": 1}
    profile = await trusting.service.frontend(token).GetProfile(pb.GetProfileRequest(user_id=user.id))
    assert profile.profile.user_id == user.id
    stream = trusting.service.frontend(token).WatchUser(pb.WatchUserRequest())
    assert (await anext(aiter(stream))).user == merged
    stream.cancel()


async def test_a_token_has_8192_characters_at_the_most(trusting: Trusting, sub: str) -> None:
    """However well it is signed."""
    await trusting.service.user(external_id=f"a|{sub}")
    assert (await trusting.get(trusting.token(sub, padding="x" * 5_000))).id
    await refused(trusting.get(trusting.token(sub, padding="x" * 6_000)), "CREDENTIAL_INVALID")


async def test_a_session_of_ours_and_one_of_an_issuer_are_the_same_user(trusting: Trusting, sub: str) -> None:
    user = await trusting.service.user(external_id=f"a|{sub}")
    ours = await trusting.service.session(user.id)
    assert await trusting.get(ours) == await trusting.get(trusting.token(sub))


async def test_one_subject_of_two_issuers_is_two_users(trusting: Trusting, sub: str) -> None:
    tokens = [trusting.token(sub, issuer) for issuer in (trusting.first, trusting.second)]
    users = [await join(trusting, token) for token in tokens]
    assert [user.external_id for user in users] == [f"a|{sub}", f"b|{sub}"]
    assert [(await trusting.get(token)).id for token in tokens] == [user.id for user in users]


async def test_a_subject_cannot_pass_for_another_issuers(trusting: Trusting, sub: str) -> None:
    await trusting.service.user(external_id=f"b|{sub}")
    for pretended in (f"b|{sub}", sub):
        await refused(trusting.get(trusting.token(pretended)), "USER_NOT_FOUND")


async def test_a_subject_cannot_pass_for_a_user_by_its_id(trusting: Trusting) -> None:
    user = await trusting.service.user()
    await refused(trusting.get(trusting.token(user.id)), "USER_NOT_FOUND")


# A token outlives many things


async def test_the_token_of_a_deleted_user_finds_nobody_until_they_sign_up_again(trusting: Trusting, sub: str) -> None:
    """A token that was verified before is still nobody's, and then the new user's, who has nothing of the old one."""
    token = trusting.token(sub)
    first = await join(trusting, token)
    assert (await trusting.get(token)).id == first.id
    await trusting.service.admin.DeleteUser(backend_pb.DeleteUserRequest(user_id=first.id))
    await refused(trusting.get(token), "USER_NOT_FOUND")
    for call in (
        trusting.service.frontend(token).UpdateUser(pb.UpdateUserRequest(user=OwnUser(first_name="Ada"))),
        trusting.service.frontend(token).ReplaceUserMetadata(
            pb.ReplaceUserMetadataRequest(unsafe_metadata=struct(THEME))
        ),
    ):
        await refused(call, "USER_NOT_FOUND")
    second = await join(trusting, token)
    assert (await trusting.get(token)).id == second.id != first.id


async def test_the_token_of_a_banned_user_is_refused_while_they_are(trusting: Trusting, sub: str) -> None:
    token = trusting.token(sub)
    user = await join(trusting, token)
    for banned in (True, False):
        request = backend_pb.UpdateUserRequest(user=User(id=user.id, banned=banned))
        request.update_mask.paths.append("banned")
        await trusting.service.admin.UpdateUser(request)
        if banned:
            await refused(trusting.get(token), "USER_BANNED")
            await refused(begin(trusting, token), "IDENTIFIER_TAKEN")
    assert (await trusting.get(token)).id == user.id


async def test_an_identity_follows_the_external_id(trusting: Trusting, sub: str) -> None:
    """Whoever has it now is the user: a backend can take it from one and give it to another."""
    token = trusting.token(sub)
    first = await join(trusting, token)
    request = backend_pb.UpdateUserRequest(user=User(id=first.id))
    request.update_mask.paths.append("external_id")
    await trusting.service.admin.UpdateUser(request)
    await refused(trusting.get(token), "USER_NOT_FOUND")
    second = await trusting.service.user(external_id=f"a|{sub}")
    assert (await trusting.get(token)).id == second.id


@pytest.mark.parametrize(("change", "reason"), [("delete", "USER_NOT_FOUND"), ("ban", "USER_BANNED")])
async def test_a_watch_under_an_identity_ends_with_its_user(
    trusting: Trusting, sub: str, change: str, reason: str
) -> None:
    user = await trusting.service.user(external_id=f"a|{sub}")
    stream = trusting.service.frontend(trusting.token(sub)).WatchUser(pb.WatchUserRequest())
    assert (await anext(aiter(stream))).user.id == user.id
    if change == "delete":
        await trusting.service.admin.DeleteUser(backend_pb.DeleteUserRequest(user_id=user.id))
    else:
        await trusting.service.admin.UpdateUser(backend_pb.UpdateUserRequest(user=User(id=user.id, banned=True)))
    await refused(anext(aiter(stream)), reason)


async def test_of_an_erased_user_nothing_says_whose_identity_they_were(trusting: Trusting, sub: str) -> None:
    """Neither as the one who wrote a change, nor as the one who made a request."""
    user = await join(trusting, trusting.token(sub))
    request = pb.MergeUserMetadataRequest(unsafe_metadata=struct({"a": 1}), request_id=request_id())
    await trusting.service.frontend(trusting.token(sub)).MergeUserMetadata(request)
    tables = {row.split('"')[1] for row in rows(trusting.service.database) if sub in row}
    assert {"users", "sign_ups", "changes", "requests"} <= tables
    await trusting.service.admin.DeleteUser(backend_pb.DeleteUserRequest(user_id=user.id))
    assert not [row for row in rows(trusting.service.database) if sub in row]
