"""The parts that do not speak gRPC, put together: a store, the use cases on it, and who may use them."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from usermeta_server.auth.authenticator import Authenticator, FrontendCredentials
from usermeta_server.auth.issuers import load_issuers
from usermeta_server.auth.outside_tokens import OutsideTokens
from usermeta_server.auth.secret_keys import KeyRing
from usermeta_server.auth.session_tokens import MAX_TTL, SessionTokens, new_signing_key
from usermeta_server.auth.sign_up_tokens import SignUpTokens
from usermeta_server.clock import Clock, wall_clock
from usermeta_server.core.documents import Limits
from usermeta_server.core.history import History
from usermeta_server.core.metadata import Metadata
from usermeta_server.core.search import Search
from usermeta_server.core.secret_keys import SecretKeys
from usermeta_server.core.sessions import Sessions
from usermeta_server.core.sign_ups import Requirements, SignUpRules, SignUps
from usermeta_server.core.tokens import Tokens
from usermeta_server.core.use_cases import UseCases
from usermeta_server.core.users import Users
from usermeta_server.core.watch import Hub, Watches
from usermeta_server.core.writes import Writes
from usermeta_server.errors import OperatorError, Reason, UsermetaError
from usermeta_server.model import SECOND, SecretKey, SigningKey
from usermeta_server.settings import MEMORY, ServerSettings
from usermeta_server.store.contract import Draft, Reads
from usermeta_server.store.engine import Engine
from usermeta_server.store.memory import MemoryEngine
from usermeta_server.store.sqlite import SqliteEngine
from usermeta_server.store.store import Store


class App(NamedTuple):
    """A store in use, and what is made of it."""

    store: Store
    use_cases: UseCases
    authenticator: Authenticator
    ring: KeyRing
    tokens: SessionTokens
    hub: Hub


@asynccontextmanager
async def open_app(
    settings: ServerSettings, *, rotate_session_key: bool = False, clock: Clock = wall_clock
) -> AsyncIterator[App]:
    """Open the store of these settings, and close it when done.

    Args:
        settings: where the store is, and what documents may be.
        rotate_session_key: whether new session tokens shall be signed with a new key.
        clock: tells the real time.

    Raises:
        OperatorError: the store cannot be opened (UnreachableError), or a setting is wrong.
    """
    outside = OutsideTokens(load_issuers(settings.issuers) if settings.issuers else ())
    async with AsyncExitStack() as opened:
        opened.push_async_callback(outside.close)
        store = await Store.open(await _open_engine(settings), cache_bytes=settings.cache, clock=clock)
        opened.push_async_callback(store.close)
        try:
            app = await _assemble(store, settings, outside, rotate_session_key=rotate_session_key)
        except UsermetaError as error:
            raise OperatorError(f"cannot use the database {settings.database_url}: {error.message}") from error
        yield app


async def _open_engine(settings: ServerSettings) -> Engine:
    if settings.database_url == MEMORY:
        return MemoryEngine()
    return await SqliteEngine.open(
        settings.database_url, search_seconds=settings.search, lock_seconds=settings.lock_timeout
    )


async def _assemble(store: Store, settings: ServerSettings, outside: OutsideTokens, *, rotate_session_key: bool) -> App:
    limits = Limits(max_bytes=settings.metadata_max_bytes)
    ring = KeyRing(await _all_secret_keys(store))
    tokens = SessionTokens(await _signing_keys(store, rotate=rotate_session_key))
    writes = Writes(store, await _secret(store, "request_digest"))
    sign_up_tokens = SignUpTokens(await _secret(store, "sign_up_token"))
    metadata = Metadata(store, writes, limits)
    resume_tokens = Tokens(await _secret(store, "resume_token"), "resume_token", Reason.RESUME_TOKEN_INVALID)
    page_tokens = Tokens(await _secret(store, "page_token"), "page_token", Reason.PAGE_TOKEN_INVALID)
    hub = Hub(await store.newest())
    store.subscribe(hub)
    store.subscribe(ring)
    ring.subscribe(lambda key: hub.end(key.id, UsermetaError(Reason.CREDENTIAL_INVALID)))
    use_cases = UseCases(
        users=Users(store, writes, limits),
        metadata=metadata,
        sign_ups=SignUps(store, writes, limits, _sign_up_rules(settings), (sign_up_tokens, tokens)),
        sessions=Sessions(store, writes, tokens),
        secret_keys=SecretKeys(store, writes, ring),
        history=History(store, store, metadata),
        watches=Watches(store, hub, resume_tokens),
        search=Search(store, writes, page_tokens),
        page_tokens=page_tokens,
        limits=limits,
    )
    frontend = FrontendCredentials(sign_up_tokens, tokens, outside, store.user_by)
    return App(store, use_cases, Authenticator(ring, frontend, store.wall_time), ring, tokens, hub)


def _sign_up_rules(settings: ServerSettings) -> SignUpRules:
    try:
        requirements = Requirements(settings.sign_up_required)
    except ValueError as error:
        raise OperatorError(f"sign_up_required: {error}") from error
    return SignUpRules(requirements, settings.sign_up_completion == "attested", int(settings.sign_up_idle * SECOND))


async def _secret(store: Store, name: str) -> bytes:
    """Return the store's own 32 random bytes of that name, made on first use."""

    def change(draft: Draft) -> bytes:
        kept = draft.secrets.get(name)
        if kept is None:
            kept = secrets.token_bytes(32)
            draft.secrets.put(name, kept)
        return kept

    return await store.write(Reads(secrets=(name,)), change)


async def _all_secret_keys(store: Store) -> list[SecretKey]:
    keys: list[SecretKey] = []
    while page := await store.secret_keys(keys[-1].id if keys else ""):
        keys.extend(page)
    return keys


async def _signing_keys(store: Store, *, rotate: bool) -> list[SigningKey]:
    """Return the signing keys, newest first, with a new one if there is none or one is wanted.

    A key that was superseded longer ago than any token lives is dropped.
    """
    kept = list(await store.signing_keys())
    if kept and not rotate:
        return kept

    def change(draft: Draft) -> list[SigningKey]:
        # Later than the others, also where time stands still because the clock was set back.
        made = new_signing_key(max([draft.now, *(key.create_time + 1 for key in kept)]))
        draft.signing_keys.put(made.id, made)
        needed = [made]
        for key, newer in zip(kept, [made, *kept], strict=False):
            if newer.create_time > draft.wall - MAX_TTL:
                needed.append(key)
            else:
                draft.signing_keys.put(key.id, None)
        return needed

    return await store.write(Reads(), change)
