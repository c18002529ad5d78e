"""BackendService: every handler reads its request, asks the policy, calls one use case, and answers."""

from collections.abc import Mapping
from typing import Final

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.user_pb2 import User as UserMessage
from usermeta_server import policy
from usermeta_server.caller import Caller
from usermeta_server.core.history import Restoration
from usermeta_server.core.metadata import Edit, MetadataWrite
from usermeta_server.core.use_cases import UseCases
from usermeta_server.errors import UsermetaError, invalid
from usermeta_server.model import HOUR, SECOND, Document, IdentifierKind, User
from usermeta_server.policy import SIGN_UP_WRITABLE_FIELDS, WRITABLE_FIELDS, Viewer, sign_up_documents
from usermeta_server.services.batches import MAX_REPLY, fitting, fitting_bytes, gather
from usermeta_server.services.changes import Changes, documents_named
from usermeta_server.services.edits import documents_of, merges_of, patches_of, replacements_of
from usermeta_server.services.indexes import index_message, index_path_of
from usermeta_server.services.messages import fill, put_time
from usermeta_server.services.reading import Reading, read, reading
from usermeta_server.services.replies import Replies
from usermeta_server.services.requests import (
    change_id_of,
    filter_of,
    ids_of,
    intent_of,
    items_of,
    new_user_id_of,
    page_of,
    page_size_of,
    required,
    resume_token_of,
    time_of,
    watch_filter_of,
)
from usermeta_server.services.secret_keys import key_message, key_name_of, scopes_of
from usermeta_server.services.sign_ups import with_sign_up
from usermeta_server.services.streams import Send, send_or_end
from usermeta_server.services.updates import profile_of, read_mask_of, sign_up_update_of, update_of
from usermeta_server.status import to_status

_FIELDS: Final = WRITABLE_FIELDS[Viewer.BACKEND]
_SIGN_UP_FIELDS: Final = SIGN_UP_WRITABLE_FIELDS[Viewer.BACKEND]
_SIGN_UP_DOCUMENTS: Final = sign_up_documents(Viewer.BACKEND)
_DEFAULT_TTL: Final = HOUR
_MAX_TTL: Final = 24 * HOUR

MetadataRequest = pb.MergeUserMetadataRequest | pb.ReplaceUserMetadataRequest | pb.PatchUserMetadataRequest


class BackendService:
    """Handlers of `usermeta.backend.v1.BackendService`, whose proto says what each does."""

    def __init__(self, use_cases: UseCases, reply_cache_bytes: int) -> None:
        """Serve these use cases."""
        self._users = use_cases.users
        self._metadata = use_cases.metadata
        self._search = use_cases.search
        self._listing = reading(use_cases.search.listing)
        self._history = use_cases.history
        self._watches = use_cases.watches
        self._sign_ups = use_cases.sign_ups
        self._sessions = use_cases.sessions
        self._keys = use_cases.secret_keys
        self._pages = use_cases.page_tokens
        self._limits = use_cases.limits
        # Every response with one user has it in field 1, so that the bytes of one are the bytes of all.
        self._changes = Changes(reply_cache_bytes)
        self._replies = Replies(pb.GetUserResponse, "user", reply_cache_bytes)

    def _reply(self, caller: Caller, user: User, mask: frozenset[str] | None) -> bytes:
        """Return a response with one user, of whom the mask's fields are told, all without one."""
        if mask is None:
            return self._replies.of(caller, user)
        message = pb.GetUserResponse()
        fill(message.user, policy.view(caller, user), mask)
        return message.SerializeToString()

    async def create_user(self, request: pb.CreateUserRequest, caller: Caller) -> bytes:
        user_id, values, documents, intent = read(
            new_user_id_of(request.user_id),
            profile_of(request.user, _FIELDS),
            documents_of(request.user, "user."),
            intent_of(request, caller),
        )
        policy.grant_write(caller, user_id, documents.keys())
        user = await self._users.create(values, documents, user_id, intent)
        return self._replies.of(caller, user)

    async def get_user(self, request: pb.GetUserRequest, caller: Caller) -> bytes:
        kind = request.WhichOneof("identifier") or "user_id"
        (value,) = read(required(getattr(request, kind), kind))
        if kind == "user_id":
            return self._replies.of(caller, await self._users.get(caller, value))
        return self._replies.of(caller, await self._users.get_by(IdentifierKind(kind), value))

    async def batch_get_users(self, request: pb.BatchGetUsersRequest, caller: Caller) -> bytes:
        user_ids, mask = read(ids_of(request.user_ids, "user_ids"), read_mask_of(request.read_mask, UserMessage))
        users = await self._users.get_many(user_ids)
        batch = gather(user_ids, users, lambda user: self._reply(caller, user, mask))
        rest = pb.BatchGetUsersResponse(missing_user_ids=batch.missing, deferred_user_ids=batch.deferred)
        # A response with one user, in field 1, is also one element of the repeated field 1 of this one.
        return b"".join((*batch.replies, rest.SerializeToString()))

    async def update_user(self, request: pb.UpdateUserRequest, caller: Caller) -> bytes:
        user_id, values, intent = read(
            required(request.user.id, "user.id"),
            update_of(request.user, request.update_mask, _FIELDS),
            intent_of(request, caller),
        )
        user = await self._users.update(caller, user_id, values, request.expected_etag, intent)
        return self._replies.of(caller, user)

    async def delete_user(self, request: pb.DeleteUserRequest, caller: Caller) -> pb.DeleteUserResponse:
        user_id, intent = read(required(request.user_id, "user_id"), intent_of(request, caller))
        await self._users.delete(user_id, request.expected_etag, intent)
        return pb.DeleteUserResponse()

    async def merge_user_metadata(self, request: pb.MergeUserMetadataRequest, caller: Caller) -> bytes:
        return await self._write(request, caller, merges_of(request))

    async def replace_user_metadata(self, request: pb.ReplaceUserMetadataRequest, caller: Caller) -> bytes:
        return await self._write(request, caller, replacements_of(request))

    async def patch_user_metadata(self, request: pb.PatchUserMetadataRequest, caller: Caller) -> bytes:
        return await self._write(request, caller, patches_of(request, self._limits))

    async def _write(self, request: MetadataRequest, caller: Caller, edits: Reading[Mapping[Document, Edit]]) -> bytes:
        user_id, edited, intent = read(required(request.user_id, "user_id"), edits, intent_of(request, caller))
        write = _allowed(request, caller, user_id, edited)
        return self._replies.of(caller, await self._metadata.write(write, intent))

    async def batch_merge_user_metadata(
        self, request: pb.BatchMergeUserMetadataRequest, caller: Caller
    ) -> pb.BatchMergeUserMetadataResponse:
        items, intent = read(items_of(request.requests), intent_of(request, caller))
        writes = [_item(item, caller) for item in items]
        results = await self._metadata.write_batch(writes, intent, atomic=request.atomic)
        response, room = pb.BatchMergeUserMetadataResponse(), MAX_REPLY
        for result in results:
            outcome = response.results.add()
            if isinstance(result, UsermetaError):
                outcome.status.CopyFrom(to_status(result))
                continue
            reply = self._replies.of(caller, result)
            room -= len(reply)
            if room >= 0:
                outcome.MergeFromString(reply)
            else:
                outcome.deferred_user_id = result.id
        return response

    async def list_users(self, request: pb.ListUsersRequest, caller: Caller) -> bytes:
        listing, size, mask = read(
            self._listing(request.filter, request.order_by, request.page_token),
            page_size_of(request.page_size),
            read_mask_of(request.read_mask, UserMessage),
        )
        found = await self._search.list(caller, listing, size)
        page = fitting_bytes(self._reply(caller, user, mask) for user in found.users)
        rest = pb.ListUsersResponse(next_page_token=self._search.next_page_token(found, len(page)))
        # As in batch_get_users.
        return b"".join((*page, rest.SerializeToString()))

    async def count_users(self, request: pb.CountUsersRequest, caller: Caller) -> pb.CountUsersResponse:
        (sought,) = read(filter_of(request.filter))
        return pb.CountUsersResponse(count=await self._search.count(caller, sought))

    async def create_metadata_index(
        self, request: pb.CreateMetadataIndexRequest, caller: Caller
    ) -> pb.CreateMetadataIndexResponse:
        path, intent = read(index_path_of(request.path), intent_of(request, caller))
        index = await self._search.create_index(path, intent)
        return pb.CreateMetadataIndexResponse(metadata_index=index_message(index))

    async def list_metadata_indexes(
        self, _: pb.ListMetadataIndexesRequest, __: Caller
    ) -> pb.ListMetadataIndexesResponse:
        return pb.ListMetadataIndexesResponse(metadata_indexes=map(index_message, self._search.list_indexes()))

    async def delete_metadata_index(
        self, request: pb.DeleteMetadataIndexRequest, caller: Caller
    ) -> pb.DeleteMetadataIndexResponse:
        path, intent = read(index_path_of(request.path), intent_of(request, caller))
        await self._search.delete_index(path, intent)
        return pb.DeleteMetadataIndexResponse()

    async def list_user_changes(self, request: pb.ListUserChangesRequest, caller: Caller) -> pb.ListUserChangesResponse:
        of_list = f"{caller.method} {request.user_id}"
        user_id, asked = read(required(request.user_id, "user_id"), page_of(request, self._pages, of_list))
        before = asked.after if isinstance(asked.after, int) else 0
        changes = await self._history.list(user_id, before, asked.size + 1)
        page = fitting(self._changes.message(caller, change) for change in changes[: asked.size])
        more = len(page) < len(changes)
        token = self._pages.make(of_list, page[-1].change_id) if more else ""
        return pb.ListUserChangesResponse(changes=page, next_page_token=token)

    async def restore_user_metadata(self, request: pb.RestoreUserMetadataRequest, caller: Caller) -> bytes:
        user_id, change_id, documents, intent = read(
            required(request.user_id, "user_id"),
            change_id_of(request.change_id),
            documents_named(request.documents),
            intent_of(request, caller),
        )
        restoration = Restoration(user_id, change_id, documents, _expected(request))
        return self._replies.of(caller, await self._history.restore(caller, restoration, intent))

    async def watch_users(self, request: pb.WatchUsersRequest, caller: Caller, send: Send) -> None:
        watched, resume_token = read(
            watch_filter_of(request.filter), resume_token_of(request.resume_token, snapshot=request.include_snapshot)
        )
        opened = self._watches.users(caller, watched, resume_token, snapshot=request.include_snapshot)
        async with opened as (watch, batches):
            async for batch in batches:
                for response in self._changes.responses(caller, batch, watch.resume_token):
                    await send_or_end(watch, send, response)

    async def get_sign_up(self, request: pb.GetSignUpRequest, caller: Caller) -> pb.GetSignUpResponse:
        (sign_up_id,) = read(required(request.sign_up_id, "sign_up_id"))
        sign_up = await self._sign_ups.get(caller, sign_up_id)
        return with_sign_up(pb.GetSignUpResponse(), caller, sign_up)

    async def list_sign_ups(self, request: pb.ListSignUpsRequest, caller: Caller) -> pb.ListSignUpsResponse:
        (asked,) = read(page_of(request, self._pages, caller.method))
        sign_ups = await self._sign_ups.list(str(asked.after or ""), asked.size + 1)
        page = fitting(with_sign_up(pb.GetSignUpResponse(), caller, each) for each in sign_ups[: asked.size])
        more = len(page) < len(sign_ups)
        token = self._pages.make(caller.method, sign_ups[len(page) - 1].record.id) if more else ""
        return pb.ListSignUpsResponse(sign_ups=(each.sign_up for each in page), next_page_token=token)

    async def update_sign_up(self, request: pb.UpdateSignUpRequest, caller: Caller) -> pb.UpdateSignUpResponse:
        sign_up_id, changes, intent = read(
            required(request.sign_up_id, "sign_up_id"),
            sign_up_update_of(request.sign_up, request.update_mask, _SIGN_UP_FIELDS, _SIGN_UP_DOCUMENTS),
            intent_of(request, caller),
        )
        sign_up = await self._sign_ups.update(caller, sign_up_id, changes, request.expected_etag, intent)
        return with_sign_up(pb.UpdateSignUpResponse(), caller, sign_up)

    async def complete_sign_up(self, request: pb.CompleteSignUpRequest, caller: Caller) -> bytes:
        sign_up_id, intent = read(required(request.sign_up_id, "sign_up_id"), intent_of(request, caller))
        done = await self._sign_ups.complete(caller, sign_up_id, request.expected_etag, intent)
        return self._replies.of(caller, done.user)

    async def reject_sign_up(self, request: pb.RejectSignUpRequest, caller: Caller) -> pb.RejectSignUpResponse:
        sign_up_id, intent = read(required(request.sign_up_id, "sign_up_id"), intent_of(request, caller))
        sign_up = await self._sign_ups.reject(caller, sign_up_id, request.expected_etag, intent)
        return with_sign_up(pb.RejectSignUpResponse(), caller, sign_up)

    async def create_session_token(
        self, request: pb.CreateSessionTokenRequest, caller: Caller
    ) -> pb.CreateSessionTokenResponse:
        user_id, ttl, intent = read(required(request.user_id, "user_id"), _ttl_of(request), intent_of(request, caller))
        session = await self._sessions.create(user_id, ttl, intent)
        response = pb.CreateSessionTokenResponse(session_token=session.token)
        if session.expire_time:
            put_time(response.expire_time, session.expire_time)
        return response

    async def create_secret_key(self, request: pb.CreateSecretKeyRequest, caller: Caller) -> pb.CreateSecretKeyResponse:
        name, scopes, expire_time, intent = read(
            key_name_of(request.display_name),
            scopes_of(request.scopes),
            time_of(request, "expire_time"),
            intent_of(request, caller),
        )
        made = await self._keys.create(caller.principal, name, scopes, expire_time, intent)
        return pb.CreateSecretKeyResponse(secret_key=key_message(made.key), secret=made.secret)

    async def list_secret_keys(self, request: pb.ListSecretKeysRequest, caller: Caller) -> pb.ListSecretKeysResponse:
        (asked,) = read(page_of(request, self._pages, caller.method))
        keys = await self._keys.list(str(asked.after or ""), asked.size + 1)
        page = keys[: asked.size]
        token = self._pages.make(caller.method, page[-1].id) if len(keys) > len(page) else ""
        return pb.ListSecretKeysResponse(secret_keys=map(key_message, page), next_page_token=token)

    async def revoke_secret_key(self, request: pb.RevokeSecretKeyRequest, caller: Caller) -> pb.RevokeSecretKeyResponse:
        key_id, intent = read(required(request.secret_key_id, "secret_key_id"), intent_of(request, caller))
        key = await self._keys.revoke(key_id, intent)
        return pb.RevokeSecretKeyResponse(secret_key=key_message(key))


def _allowed(request: MetadataRequest, caller: Caller, user_id: str, edits: Mapping[Document, Edit]) -> MetadataWrite:
    grant = policy.grant_write(caller, user_id, edits.keys())
    return MetadataWrite(caller, grant, edits, _expected(request))


def _expected(request: MetadataRequest | pb.RestoreUserMetadataRequest) -> Mapping[Document, str]:
    if not request.HasField("expected_etags"):
        return {}
    return {document: getattr(request.expected_etags, document) for document in Document}


def _item(request: pb.MergeUserMetadataRequest, caller: Caller) -> MetadataWrite | UsermetaError:
    try:
        user_id, edits = read(required(request.user_id, "user_id"), merges_of(request))
        return _allowed(request, caller, user_id, edits)
    except UsermetaError as error:
        return error


@reading
def _ttl_of(request: pb.CreateSessionTokenRequest) -> int:
    ttl = request.ttl.ToMicroseconds() if request.HasField("ttl") else _DEFAULT_TTL
    if not SECOND <= ttl <= _MAX_TTL:
        raise invalid("ttl", "must be between 1 second and 24 hours")
    return ttl
