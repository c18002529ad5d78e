"""Contract: sign-ups and keys by id, in pages, and those that are due."""

from tests.store.contract import OpenStore
from usermeta_server.model import Scope, SecretKey, SigningKey, SignUp, SignUpState
from usermeta_server.store.contract import Draft, Reads


def sign_up(sign_up_id: str, sweep_time: int = 2**60) -> SignUp:
    texts = dict.fromkeys(SignUp._fields, "")
    times = {name: 1 for name in SignUp._fields if name.endswith("_time")}
    documents = {name: "{}" for name in SignUp._fields if name.endswith("_metadata")}
    values = {**texts, **times, **documents, "id": sign_up_id, "version": 1, "state": SignUpState.OPEN}
    return SignUp(**{**values, "email_address_verified": False, "sweep_time": sweep_time})  # type: ignore[arg-type]  # of each field's type


async def test_sign_ups_are_read_by_id_and_in_pages(open_store: OpenStore) -> None:
    kept = [sign_up(f"signup_{number}") for number in range(5)]

    def put(draft: Draft) -> None:
        for each in kept:
            draft.sign_ups.put(each.id, each)

    async with open_store() as store:
        await store.write(Reads(), put)
        assert [await store.sign_up(each.id) for each in kept] == kept
        assert await store.sign_up("signup_x") is None
        assert await store.sign_ups("", 3) == kept[:3]
        assert await store.sign_ups("signup_2", 10) == kept[3:]
    async with open_store() as store:
        assert await store.sign_ups("", 10) == kept


async def test_sign_ups_are_due_by_their_time_the_oldest_first(open_store: OpenStore) -> None:
    times = {"signup_a": 30, "signup_b": 10, "signup_c": 20, "signup_d": 40}

    def put(draft: Draft) -> None:
        for sign_up_id, time in times.items():
            draft.sign_ups.put(sign_up_id, sign_up(sign_up_id, time))

    async with open_store() as store:
        await store.write(Reads(), put)
        assert await store.due_sign_ups(9, 10) == []
        assert await store.due_sign_ups(30, 10) == ["signup_b", "signup_c", "signup_a"]
        assert await store.due_sign_ups(99, 2) == ["signup_b", "signup_c"]
        await store.write(Reads(), lambda draft: draft.sign_ups.put("signup_b", None))
        assert await store.due_sign_ups(30, 10) == ["signup_c", "signup_a"]


async def test_keys_are_read_whole(open_store: OpenStore) -> None:
    """Secret keys by id and in pages, signing keys newest first."""
    keys = [SecretKey(f"key_{n}", "name", (Scope.READ,), bytes([n]), n, 0, 0) for n in range(4)]
    signing = [SigningKey(f"sgn_{n}", "PEM", n) for n in (2, 3, 1)]

    def put(draft: Draft) -> None:
        for key in keys:
            draft.secret_keys.put(key.id, key)
        for each in signing:
            draft.signing_keys.put(each.id, each)

    async with open_store() as store:
        await store.write(Reads(), put)
        assert await store.secret_keys("", 2) == keys[:2]
        assert await store.secret_keys("key_1", 9) == keys[2:]
        assert [key.create_time for key in await store.signing_keys()] == [3, 2, 1]
