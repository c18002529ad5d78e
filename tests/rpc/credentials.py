"""Every kind of credential that a call may come with, good and bad, as its metadata."""

from collections.abc import Awaitable, Callable

from tests.rpc.methods import Subject
from tests.rpc.outside import outside_token
from tests.support import Service, bearer
from usermeta_server.auth.secret_keys import new_secret
from usermeta_server.auth.sign_up_tokens import SignUpTokens
from usermeta_server.model import HOUR, Scope, SecretKey
from usermeta_server.store.contract import Draft, Reads

Metadata = tuple[tuple[str, str], ...]
Credential = Callable[[Service, Subject], Awaitable[Metadata]]


async def nothing(_: Service, __: Subject) -> Metadata:
    return ()


async def garbage(_: Service, __: Subject) -> Metadata:
    return bearer("garbage")


async def an_empty_token(_: Service, __: Subject) -> Metadata:
    return (("authorization", "Bearer"),)


async def another_scheme(service: Service, subject: Subject) -> Metadata:
    return (("authorization", f"Basic {subject.session}:{service.admin_key}"),)


async def no_scheme(service: Service, _: Subject) -> Metadata:
    return (("authorization", service.admin_key),)


async def too_long_a_token(_: Service, __: Subject) -> Metadata:
    return bearer("x" * 8193)


async def two_credentials(service: Service, subject: Subject) -> Metadata:
    return (*bearer(service.admin_key), *bearer(subject.session))


async def an_expired_key(service: Service, _: Subject) -> Metadata:
    key_id, secret, digest = new_secret(1)
    service.server.app.ring.put(SecretKey(key_id, "expired", (Scope.ADMIN,), digest, 1, 2, 0))
    return bearer(secret)


async def a_revoked_key(service: Service, _: Subject) -> Metadata:
    key_id, secret, digest = new_secret(1)
    service.server.app.ring.put(SecretKey(key_id, "revoked", (Scope.ADMIN,), digest, 1, 0, 2))
    return bearer(secret)


async def a_key_with_another_secret(service: Service, _: Subject) -> Metadata:
    return bearer(service.admin_key[:-43] + (await service.key(Scope.ADMIN))[-43:])


async def an_expired_session(service: Service, subject: Subject) -> Metadata:
    app = service.server.app
    user = await app.store.user(subject.user_id)
    assert user is not None
    token, _ = app.tokens.issue(user, app.store.wall_time() - 2 * HOUR, HOUR)
    return bearer(token)


async def a_session(_: Service, subject: Subject) -> Metadata:
    return bearer(subject.session)


async def a_lower_case_scheme(_: Service, subject: Subject) -> Metadata:
    return (("authorization", f"bearer {subject.session}"),)


async def a_sign_up_token(_: Service, subject: Subject) -> Metadata:
    return bearer(subject.sign_up_token)


async def a_tampered_sign_up_token(_: Service, subject: Subject) -> Metadata:
    token = subject.sign_up_token
    return bearer(f"{token[:-5]}{'A' if token[-5] != 'A' else 'B'}{token[-4:]}")


async def a_sign_up_token_of_another_server(_: Service, subject: Subject) -> Metadata:
    return bearer(SignUpTokens(b"k" * 32).make(subject.sign_up_id))


async def an_expired_sign_up_token(service: Service, subject: Subject) -> Metadata:
    def abandon(draft: Draft) -> None:
        sign_up = draft.sign_ups.get(subject.sign_up_id)
        assert sign_up is not None
        draft.sign_ups.put(sign_up.id, sign_up._replace(abandon_time=1))

    await service.server.app.store.write(Reads(sign_ups=(subject.sign_up_id,)), abandon)
    return bearer(subject.sign_up_token)


async def an_outside_token_of_the_user(_: Service, subject: Subject) -> Metadata:
    return bearer(subject.identity)


async def an_outside_token_of_no_user(_: Service, subject: Subject) -> Metadata:
    return bearer(subject.newcomer)


async def an_expired_outside_token(_: Service, subject: Subject) -> Metadata:
    return bearer(outside_token(subject.user_id, seconds=-60))


async def a_token_of_an_untrusted_issuer(_: Service, subject: Subject) -> Metadata:
    return bearer(outside_token(subject.user_id, issuer="https://elsewhere.example.com"))


async def a_read_key(service: Service, _: Subject) -> Metadata:
    return bearer(await service.key(Scope.READ))


async def a_write_key(service: Service, _: Subject) -> Metadata:
    return bearer(await service.key(Scope.WRITE))


async def an_admin_key(service: Service, _: Subject) -> Metadata:
    return bearer(service.admin_key)
