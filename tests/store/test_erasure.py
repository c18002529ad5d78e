"""Contract: what is erased is in no read, and what came after it stays."""

import pytest

from tests.store.contract import Moments, OpenStore, Recorder, at_once, erasing, making, revising
from tests.store.test_sign_ups import sign_up
from usermeta_server.core import erasure
from usermeta_server.core.revision import change_of
from usermeta_server.ids import Stamp
from usermeta_server.model import (
    BEGINNING,
    Actor,
    ChangeKind,
    RememberedRequest,
    RequestKey,
    SignUp,
    SignUpState,
)
from usermeta_server.store.contract import Draft, Reads
from usermeta_server.store.store import Store

LATER = 10**15


def remembered(version: int, *user_ids: str) -> RememberedRequest:
    return RememberedRequest("/method", b"digest", "outcome", LATER, version, user_ids)


async def requests_kept(store: Store, *principals: str) -> set[str]:
    keys = [RequestKey(principal, "id") for principal in principals]

    def look(draft: Draft) -> set[str]:
        return {key.principal for key in keys if draft.requests.get(key) is not None}

    return await store.write(Reads(requests=tuple(keys)), look)


async def test_the_changes_of_an_erased_user_say_nothing_of_it(open_store: OpenStore) -> None:
    """They remain, as erased, with a tombstone; so they are told, and found, after a restart too."""
    async with open_store() as store:
        await store.write(*making("user_a"))
        await store.write(*making("user_b"))
        await store.write(*revising("user_a", first_name="Ada", private_metadata='{"secret":1}'))
        await store.write(*erasing("user_a"))
    async with open_store() as store:
        assert await store.user("user_a") is None
        log = await store.changes_after(BEGINNING, 10)
        assert [(each.user_id, each.kind) for each in log] == [
            ("user_a", ChangeKind.CREATED),
            ("user_b", ChangeKind.CREATED),
            ("user_a", ChangeKind.PROFILE_UPDATED),
            ("user_a", ChangeKind.DELETED),
        ]
        for change in log[0], log[2]:
            assert (change.erased, change.before, change.after, change.parts) == (True, None, None, ())
            assert await store.find_change("user_a", change.id) == change
        assert (log[3].before, log[3].after, log[3].erased) == (None, None, False)
        assert log[1].after == await store.user("user_b")
        assert await store.user_changes("user_a", 0, 10) == [log[3], log[2], log[0]]


@pytest.mark.parametrize("together", [False, True])
async def test_a_user_that_is_made_again_begins_anew(
    open_store: OpenStore, moments: Moments, *, together: bool
) -> None:
    """Its history is its own, and not emptied with the earlier one's, in one commit with the erasure too."""
    async with open_store() as store:
        await store.write(*making("user_a"))
        if together:
            await at_once(store, moments, [erasing("user_a"), making("user_a")])
        else:
            await store.write(*erasing("user_a"))
            await store.write(*making("user_a"))
        again = await store.user("user_a")
        (change,) = await store.user_changes("user_a", 0, 10)
        assert (change.kind, change.before, change.after) == (ChangeKind.CREATED, None, again)


async def test_a_projection_is_told_what_was_erased(open_store: OpenStore) -> None:
    async with open_store() as store:
        user = await store.write(*making("user_a"))
        recorder = Recorder()
        store.subscribe(recorder)
        await store.write(*erasing("user_a"))
        (committed,) = recorder.committed
        assert committed.users == {"user_a": None}
        assert [each.user for each in committed.erasures] == [user]
        assert [each.kind for each in committed.changes] == [ChangeKind.DELETED]


async def test_requests_of_and_about_an_erased_user_are_forgotten(open_store: OpenStore) -> None:
    """Those of its own credentials and of its sign-up's holder, and whoever named it; not what came after."""

    def put(draft: Draft) -> None:
        complete = sign_up("signup_1")._replace(created_user_id="user_a", state=SignUpState.COMPLETE)
        draft.sign_ups.put(complete.id, complete)
        for principal, row in {
            "user:user_a": remembered(1),
            "sign_up:signup_1": remembered(1),
            "secret_key:key_1": remembered(1, "user_b", "user_a"),
            "secret_key:key_2": remembered(1, "user_b"),
            "secret_key:key_3": remembered(10**6, "user_a"),
        }.items():
            draft.requests.put(RequestKey(principal, "id"), row)

    async with open_store() as store:
        await store.write(*making("user_a"))
        await store.write(Reads(), put)
        await store.write(*erasing("user_a"))
        principals = ("user:user_a", "sign_up:signup_1", *(f"secret_key:key_{number}" for number in (1, 2, 3)))
        assert await requests_kept(store, *principals) == {"secret_key:key_2", "secret_key:key_3"}


async def test_sign_ups_of_an_erased_user_are_emptied_and_those_under_its_identity_deleted(
    open_store: OpenStore,
) -> None:
    person = {"username": "ada", "email_address": "ada@example.com", "external_id": "idp|ada"}
    kept = {
        "signup_made": sign_up("signup_made")._replace(
            created_user_id="user_a",
            state=SignUpState.COMPLETE,
            **person,  # type: ignore[arg-type]  # texts
        ),
        "signup_begun": sign_up("signup_begun")._replace(external_id="idp|ada"),
        "signup_later": sign_up("signup_later")._replace(external_id="idp|ada", version=10**6),
        "signup_other": sign_up("signup_other")._replace(external_id="idp|bob"),
    }

    def put(draft: Draft) -> None:
        for each in kept.values():
            draft.sign_ups.put(each.id, each)

    def found(sign_ups: list[SignUp]) -> dict[str, SignUp]:
        return {each.id: each for each in sign_ups}

    async with open_store() as store:
        await store.write(*making("user_a"))
        await store.write(*revising("user_a", external_id="idp|ada"))
        await store.write(Reads(), put)
        await store.write(*erasing("user_a"))
        left = found(list(await store.sign_ups("", 10)))
        assert left.keys() == kept.keys() - {"signup_begun"}
        emptied = left.pop("signup_made")
        assert (emptied.username, emptied.email_address, emptied.external_id) == ("", "", "")
        assert emptied.created_user_id == "user_a"
        assert left == {name: kept[name] for name in left}


async def test_an_identity_that_is_a_users_no_more_is_forgotten_as_a_caller(open_store: OpenStore) -> None:
    """What it asked for is; the user's history and what others asked for stay."""

    def put(draft: Draft) -> None:
        draft.requests.put(RequestKey("identity:idp|ada", "id"), remembered(1))
        draft.requests.put(RequestKey("secret_key:key_1", "id"), remembered(1, "user_a"))

    async with open_store() as store:
        await store.write(*making("user_a"))
        await store.write(Reads(), put)
        await store.write(Reads(), lambda draft: draft.erase(erasure.of_identity("idp|ada", draft.next_version())))
        assert await requests_kept(store, "identity:idp|ada", "secret_key:key_1") == {"secret_key:key_1"}
        assert not (await store.changes_after(BEGINNING, 10))[0].erased


async def test_an_outside_identity_is_not_named_in_what_it_changed(open_store: OpenStore) -> None:
    """The log says that an identity did it, and no longer which."""

    def rename(draft: Draft) -> None:
        user = draft.users.get("user_a")
        assert user is not None
        after = user._replace(version=draft.next_version(), first_name="Ada")
        draft.users.put("user_a", after)
        stamp = Stamp(draft.now, real=True, actor=Actor("frontend", "identity:idp|ada"), request_id="id")
        draft.record(change_of(stamp, ChangeKind.PROFILE_UPDATED, user, after, ("first_name",)))

    async with open_store() as store:
        await store.write(*making("user_a"))
        await store.write(Reads(users=("user_a",)), rename)
        await store.write(*erasing("user_a"))
        change = (await store.changes_after(BEGINNING, 10))[1]
        assert (change.actor, change.request_id) == (Actor("frontend", "identity:"), "")
