"""BackendService: every handler reads its request, asks the policy, calls one use case, and answers."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from google.protobuf.message import Message

from usermeta.backend.v1 import backend_service_pb2 as pb
from usermeta.backend.v1.sign_up_pb2 import SignUp as SignUpMessage
from usermeta.backend.v1.user_pb2 import User as UserMessage
from usermeta_server import policy
from usermeta_server.caller import Caller
from usermeta_server.core.history import Restoration
from usermeta_server.core.metadata import Edit, MetadataWrite
from usermeta_server.core.use_cases import UseCases
from usermeta_server.core.user_refs import Subject, UserRef
from usermeta_server.errors import UsermetaError, invalid
from usermeta_server.model import HOUR, SECOND, Document, User
from usermeta_server.policy import SIGN_UP_WRITABLE_FIELDS, WRITABLE_FIELDS, Viewer, sign_up_documents
from usermeta_server.services.changes import Changes, documents_named
from usermeta_server.services.edits import documents_of, merges_of, patches_of, replacements_of
from usermeta_server.services.encoded import Encoded, encoded
from usermeta_server.services.indexes import index_message, index_path_of
from usermeta_server.services.messages import put_time
from usermeta_server.services.packing import Room, gathered, paged
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
    user_ref_of,
    watch_filter_of,
)
from usermeta_server.services.secret_keys import key_message, key_name_of, scopes_of
from usermeta_server.services.sign_ups import filled, with_sign_up
from usermeta_server.services.streams import Send, send_or_end
from usermeta_server.services.updates import profile_of, read_mask_of, sign_up_update_of, update_of
from usermeta_server.status import to_status

_FIELDS: Final = WRITABLE_FIELDS[Viewer.BACKEND]
_SIGN_UP_FIELDS: Final = SIGN_UP_WRITABLE_FIELDS[Viewer.BACKEND]
_SIGN_UP_DOCUMENTS: Final = sign_up_documents(Viewer.BACKEND)
_DEFAULT_TTL: Final = HOUR
_MAX_TTL: Final = 24 * HOUR

M = TypeVar("M", bound=Message)

MetadataRequest = pb.MergeUserMetadataRequest | pb.ReplaceUserMetadataRequest | pb.PatchUserMetadataRequest


class _Asked(NamedTuple):
    """A write of documents as a request asks for it: whose, what, and the etags that it expects."""

    user: UserRef
    edits: Mapping[Document, Edit]
    expected_etags: Mapping[Document, str]


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
        self._changes = Changes(reply_cache_bytes)
        self._replies = Replies(pb.GetUserResponse, "user", reply_cache_bytes)

    async def create_user(self, request: pb.CreateUserRequest, caller: Caller) -> Encoded[pb.CreateUserResponse]:
        user_id, values, documents, mask, intent = read(
            new_user_id_of(request.user_id),
            profile_of(request.user, _FIELDS),
            documents_of(request.user, "user."),
            read_mask_of(request, UserMessage),
            intent_of(request, caller),
        )
        user = await self._users.create(caller, (values, documents), user_id, intent)
        return self._replies.of(pb.CreateUserResponse, caller, user, mask)

    async def get_user(self, request: pb.GetUserRequest, caller: Caller) -> Encoded[pb.GetUserResponse]:
        ref, mask = read(user_ref_of(request), read_mask_of(request, UserMessage))
        user = await (self._users.get(caller, ref) if isinstance(ref, str) else self._users.get_by(ref))
        return self._replies.of(pb.GetUserResponse, caller, user, mask)

    async def batch_get_users(
        self, request: pb.BatchGetUsersRequest, caller: Caller
    ) -> Encoded[pb.BatchGetUsersResponse]:
        user_ids, mask = read(ids_of(request.user_ids, "user_ids"), read_mask_of(request, UserMessage))
        users = await self._users.get_many(user_ids)
        response = pb.BatchGetUsersResponse
        return gathered(response, user_ids, users, lambda user: self._replies.of(response, caller, user, mask))

    async def update_user(self, request: pb.UpdateUserRequest, caller: Caller) -> Encoded[pb.UpdateUserResponse]:
        user_id, values, mask, intent = read(
            required(request.user.id, "user.id"),
            update_of(request.user, request.update_mask, _FIELDS),
            read_mask_of(request, UserMessage),
            intent_of(request, caller),
        )
        user = await self._users.update(caller, user_id, values, request.expected_etag, intent)
        return self._replies.of(pb.UpdateUserResponse, caller, user, mask)

    async def delete_user(self, request: pb.DeleteUserRequest, caller: Caller) -> pb.DeleteUserResponse:
        user, intent = read(user_ref_of(request), intent_of(request, caller))
        await self._users.delete(user, request.expected_etag, intent)
        return pb.DeleteUserResponse()

    async def merge_user_metadata(
        self, request: pb.MergeUserMetadataRequest, caller: Caller
    ) -> Encoded[pb.MergeUserMetadataResponse]:
        return await self._write(pb.MergeUserMetadataResponse, request, caller, merges_of(request))

    async def replace_user_metadata(
        self, request: pb.ReplaceUserMetadataRequest, caller: Caller
    ) -> Encoded[pb.ReplaceUserMetadataResponse]:
        return await self._write(pb.ReplaceUserMetadataResponse, request, caller, replacements_of(request))

    async def patch_user_metadata(
        self, request: pb.PatchUserMetadataRequest, caller: Caller
    ) -> Encoded[pb.PatchUserMetadataResponse]:
        return await self._write(pb.PatchUserMetadataResponse, request, caller, patches_of(request, self._limits))

    async def _write(
        self, response: type[M], request: MetadataRequest, caller: Caller, edits: Reading[Mapping[Document, Edit]]
    ) -> Encoded[M]:
        user, edited, mask, intent = read(
            user_ref_of(request), edits, read_mask_of(request, UserMessage), intent_of(request, caller)
        )
        written = await self._users.acting_on(
            user, lambda found: self._metadata.write(_allowed(caller, found, edited, _expected(request)), intent)
        )
        return self._replies.of(response, caller, written, mask)

    async def batch_merge_user_metadata(
        self, request: pb.BatchMergeUserMetadataRequest, caller: Caller
    ) -> pb.BatchMergeUserMetadataResponse:
        items, mask, intent = read(
            items_of(request.requests), read_mask_of(request, UserMessage), intent_of(request, caller)
        )
        asked = [_item(item) for item in items]

        async def write(found: Sequence[Subject]) -> Sequence[User | UsermetaError]:
            users = iter(found)
            writes = [
                _allowed(caller, next(users), each.edits, each.expected_etags) if isinstance(each, _Asked) else each
                for each in asked
            ]
            return await self._metadata.write_batch(writes, intent, atomic=request.atomic)

        results = await self._users.acting_on_all([each.user for each in asked if isinstance(each, _Asked)], write)
        response, room = pb.BatchMergeUserMetadataResponse(), Room()
        for result in results:
            outcome = response.results.add()
            if isinstance(result, UsermetaError):
                outcome.status.CopyFrom(to_status(result))
            elif room.take(part := self._replies.of(pb.BatchMergeUserMetadataResult, caller, result, mask)):
                outcome.MergeFromString(part.data)
            else:
                outcome.deferred_user_id = result.id
        return response

    async def list_users(self, request: pb.ListUsersRequest, caller: Caller) -> Encoded[pb.ListUsersResponse]:
        listing, size, mask = read(
            self._listing(request.filter, request.order_by, request.page_token),
            page_size_of(request.page_size),
            read_mask_of(request, UserMessage),
        )
        return paged(
            pb.ListUsersResponse,
            await self._search.list(caller, listing, size + 1),
            size,
            lambda user: self._replies.of(pb.ListUsersResponse, caller, user, mask),
            lambda user: self._search.token_after(listing, user),
        )

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

    async def list_user_changes(
        self, request: pb.ListUserChangesRequest, caller: Caller
    ) -> Encoded[pb.ListUserChangesResponse]:
        of_list = f"{caller.method} {request.WhichOneof('identifier')} {request.user_id or request.external_id}"
        user, asked, mask = read(
            user_ref_of(request), page_of(request, self._pages, of_list), read_mask_of(request, UserMessage)
        )
        before = 0
        if isinstance(asked.after, list):  # a page goes on with the user of the first one
            user, before = str(asked.after[0]), int(str(asked.after[1]))
        return paged(
            pb.ListUserChangesResponse,
            await self._history.list(user, before, asked.size + 1),
            asked.size,
            lambda change: encoded(pb.ListUserChangesResponse(changes=[self._changes.message(caller, change, mask)])),
            lambda change: self._pages.make(of_list, [change.user_id, change.id]),
        )

    async def restore_user_metadata(
        self, request: pb.RestoreUserMetadataRequest, caller: Caller
    ) -> Encoded[pb.RestoreUserMetadataResponse]:
        user, change_id, documents, mask, intent = read(
            user_ref_of(request),
            change_id_of(request.change_id),
            documents_named(request.documents),
            read_mask_of(request, UserMessage),
            intent_of(request, caller),
        )
        restoration = Restoration(user, change_id, documents, _expected(request))
        restored = await self._history.restore(caller, restoration, intent)
        return self._replies.of(pb.RestoreUserMetadataResponse, caller, restored, mask)

    async def watch_users(
        self, request: pb.WatchUsersRequest, caller: Caller, send: Send[pb.WatchUsersResponse]
    ) -> None:
        watched, resume_token, mask = read(
            watch_filter_of(request.filter),
            resume_token_of(request.resume_token, snapshot=request.include_snapshot),
            read_mask_of(request, UserMessage),
        )
        opened = self._watches.users(caller, watched, resume_token, snapshot=request.include_snapshot)
        async with opened as (watch, batches):
            async for batch in batches:
                for response in self._changes.responses(caller, batch, watch.resume_token, mask):
                    await send_or_end(watch, send, response)

    async def get_sign_up(self, request: pb.GetSignUpRequest, caller: Caller) -> pb.GetSignUpResponse:
        (sign_up_id,) = read(required(request.sign_up_id, "sign_up_id"))
        sign_up = await self._sign_ups.get(caller, sign_up_id)
        return with_sign_up(pb.GetSignUpResponse(), caller, sign_up)

    async def list_sign_ups(self, request: pb.ListSignUpsRequest, caller: Caller) -> Encoded[pb.ListSignUpsResponse]:
        (asked,) = read(page_of(request, self._pages, caller.method))
        return paged(
            pb.ListSignUpsResponse,
            await self._sign_ups.list(str(asked.after or ""), asked.size + 1),
            asked.size,
            lambda each: encoded(pb.ListSignUpsResponse(sign_ups=[filled(SignUpMessage(), caller, each)])),
            lambda each: self._pages.make(caller.method, each.record.id),
        )

    async def update_sign_up(self, request: pb.UpdateSignUpRequest, caller: Caller) -> pb.UpdateSignUpResponse:
        sign_up_id, changes, intent = read(
            required(request.sign_up_id, "sign_up_id"),
            sign_up_update_of(request.sign_up, request.update_mask, _SIGN_UP_FIELDS, _SIGN_UP_DOCUMENTS),
            intent_of(request, caller),
        )
        sign_up = await self._sign_ups.update(caller, sign_up_id, changes, request.expected_etag, intent)
        return with_sign_up(pb.UpdateSignUpResponse(), caller, sign_up)

    async def complete_sign_up(
        self, request: pb.CompleteSignUpRequest, caller: Caller
    ) -> Encoded[pb.CompleteSignUpResponse]:
        sign_up_id, mask, intent = read(
            required(request.sign_up_id, "sign_up_id"),
            read_mask_of(request, UserMessage),
            intent_of(request, caller),
        )
        done = await self._sign_ups.complete(caller, sign_up_id, request.expected_etag, intent)
        return self._replies.of(pb.CompleteSignUpResponse, caller, done.user, mask)

    async def reject_sign_up(self, request: pb.RejectSignUpRequest, caller: Caller) -> pb.RejectSignUpResponse:
        sign_up_id, intent = read(required(request.sign_up_id, "sign_up_id"), intent_of(request, caller))
        sign_up = await self._sign_ups.reject(caller, sign_up_id, request.expected_etag, intent)
        return with_sign_up(pb.RejectSignUpResponse(), caller, sign_up)

    async def create_session_token(
        self, request: pb.CreateSessionTokenRequest, caller: Caller
    ) -> pb.CreateSessionTokenResponse:
        user, ttl, intent = read(user_ref_of(request), _ttl_of(request), intent_of(request, caller))
        session = await self._sessions.create(user, ttl, intent)
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

    async def list_secret_keys(
        self, request: pb.ListSecretKeysRequest, caller: Caller
    ) -> Encoded[pb.ListSecretKeysResponse]:
        (asked,) = read(page_of(request, self._pages, caller.method))
        return paged(
            pb.ListSecretKeysResponse,
            await self._keys.list(str(asked.after or ""), asked.size + 1),
            asked.size,
            lambda key: encoded(pb.ListSecretKeysResponse(secret_keys=[key_message(key)])),
            lambda key: self._pages.make(caller.method, key.id),
        )

    async def revoke_secret_key(self, request: pb.RevokeSecretKeyRequest, caller: Caller) -> pb.RevokeSecretKeyResponse:
        key_id, intent = read(required(request.secret_key_id, "secret_key_id"), intent_of(request, caller))
        key = await self._keys.revoke(key_id, intent)
        return pb.RevokeSecretKeyResponse(secret_key=key_message(key))


def _allowed(
    caller: Caller, found: Subject, edits: Mapping[Document, Edit], expected_etags: Mapping[Document, str]
) -> MetadataWrite:
    """Return a write of documents of the user that was found, if the policy allows it."""
    grant = policy.grant_write(caller, found.user_id, edits.keys())
    return MetadataWrite(caller, grant, edits, expected_etags, found_by=found.found_by)


def _expected(request: MetadataRequest | pb.RestoreUserMetadataRequest) -> Mapping[Document, str]:
    if not request.HasField("expected_etags"):
        return {}
    return {document: getattr(request.expected_etags, document) for document in Document}


def _item(request: pb.MergeUserMetadataRequest) -> _Asked | UsermetaError:
    try:
        user, edits = read(user_ref_of(request), merges_of(request))
    except UsermetaError as error:
        return error
    return _Asked(user, edits, _expected(request))


@reading
def _ttl_of(request: pb.CreateSessionTokenRequest) -> int:
    ttl = request.ttl.ToMicroseconds() if request.HasField("ttl") else _DEFAULT_TTL
    is_duration = 0 <= request.ttl.nanos < 10**9  # with positive seconds, in google/protobuf/duration.proto's words
    if not (is_duration and SECOND <= ttl <= _MAX_TTL):
        raise invalid("ttl", "must be between 1 second and 24 hours")
    return ttl
