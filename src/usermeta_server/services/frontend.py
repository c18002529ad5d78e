"""FrontendService: every handler reads its request, asks the policy, calls one use case, and answers.

Whose user a call is about is the principal's id, never anything in the request.
"""

from collections.abc import Mapping
from typing import Final, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from usermeta.frontend.v1 import frontend_service_pb2 as pb
from usermeta.frontend.v1.user_pb2 import User as UserMessage
from usermeta_server import policy
from usermeta_server.caller import Caller
from usermeta_server.core.metadata import Edit, MetadataWrite
from usermeta_server.core.use_cases import UseCases
from usermeta_server.errors import Reason, UsermetaError
from usermeta_server.model import Document
from usermeta_server.policy import SIGN_UP_WRITABLE_FIELDS, WRITABLE_FIELDS, Viewer, sign_up_documents
from usermeta_server.services.edits import merges_of, patches_of, replacements_of
from usermeta_server.services.encoded import Encoded
from usermeta_server.services.messages import fill
from usermeta_server.services.packing import gathered
from usermeta_server.services.reading import Reading, read
from usermeta_server.services.replies import Replies
from usermeta_server.services.requests import ids_of, intent_of, required
from usermeta_server.services.sign_ups import with_sign_up
from usermeta_server.services.streams import Send, send_or_end
from usermeta_server.services.updates import read_mask_of, sign_up_update_of, update_of

_FIELDS: Final = WRITABLE_FIELDS[Viewer.SELF]
_SIGN_UP_FIELDS: Final = SIGN_UP_WRITABLE_FIELDS[Viewer.SELF]
_SIGN_UP_DOCUMENTS: Final = sign_up_documents(Viewer.SELF)
_ONLY_ID: Final = frozenset({"id"})

M = TypeVar("M", bound=Message)

MetadataRequest = pb.MergeUserMetadataRequest | pb.ReplaceUserMetadataRequest | pb.PatchUserMetadataRequest


class FrontendService:
    """Handlers of `usermeta.frontend.v1.FrontendService`, whose proto says what each does."""

    def __init__(self, use_cases: UseCases, reply_cache_bytes: int) -> None:
        """Serve these use cases."""
        self._users = use_cases.users
        self._metadata = use_cases.metadata
        self._watches = use_cases.watches
        self._sign_ups = use_cases.sign_ups
        self._limits = use_cases.limits
        self._replies = Replies(pb.GetUserResponse, "user", reply_cache_bytes)
        self._profiles = Replies(pb.GetProfileResponse, "profile", reply_cache_bytes)

    async def create_sign_up(self, request: pb.CreateSignUpRequest, caller: Caller) -> pb.CreateSignUpResponse:
        changes, intent = read(
            sign_up_update_of(request.sign_up, FieldMask(), _SIGN_UP_FIELDS, _SIGN_UP_DOCUMENTS),
            intent_of(request, caller),
        )
        made = await self._sign_ups.create(caller, *changes, intent)
        response = pb.CreateSignUpResponse(sign_up_token=made.token)
        fill(response.sign_up, made.view)
        return response

    async def get_sign_up(self, _: pb.GetSignUpRequest, caller: Caller) -> pb.GetSignUpResponse:
        sign_up = await self._sign_ups.get(caller, caller.principal.id)
        return with_sign_up(pb.GetSignUpResponse(), caller, sign_up)

    async def update_sign_up(self, request: pb.UpdateSignUpRequest, caller: Caller) -> pb.UpdateSignUpResponse:
        changes, intent = read(
            sign_up_update_of(request.sign_up, request.update_mask, _SIGN_UP_FIELDS, _SIGN_UP_DOCUMENTS),
            intent_of(request, caller),
        )
        sign_up = await self._sign_ups.update(caller, caller.principal.id, changes, request.expected_etag, intent)
        return with_sign_up(pb.UpdateSignUpResponse(), caller, sign_up)

    async def complete_sign_up(self, request: pb.CompleteSignUpRequest, caller: Caller) -> pb.CompleteSignUpResponse:
        mask, intent = read(read_mask_of(request, UserMessage), intent_of(request, caller))
        done = await self._sign_ups.complete(caller, caller.principal.id, request.expected_etag, intent)
        response = pb.CompleteSignUpResponse(session_token=done.session_token)
        view = policy.created_user_view(caller, done.sign_up, done.user)
        fill(response.user, view, mask if done.shows_user else _ONLY_ID & (mask or _ONLY_ID))
        return response

    async def get_user(self, request: pb.GetUserRequest, caller: Caller) -> Encoded[pb.GetUserResponse]:
        (mask,) = read(read_mask_of(request, UserMessage))
        user = await self._users.get(caller, _own_id(caller))
        return self._replies.of(pb.GetUserResponse, caller, user, mask)

    async def watch_user(self, request: pb.WatchUserRequest, caller: Caller, send: Send[pb.WatchUserResponse]) -> None:
        (mask,) = read(read_mask_of(request, UserMessage))
        async with self._watches.own(caller) as own:
            while True:
                reply = self._replies.of(pb.WatchUserResponse, caller, await own.next(), mask)
                await send_or_end(own.watch, send, reply)

    async def update_user(self, request: pb.UpdateUserRequest, caller: Caller) -> Encoded[pb.UpdateUserResponse]:
        values, mask, intent = read(
            update_of(request.user, request.update_mask, _FIELDS),
            read_mask_of(request, UserMessage),
            intent_of(request, caller),
        )
        user = await self._users.update(caller, _own_id(caller), values, request.expected_etag, intent)
        return self._replies.of(pb.UpdateUserResponse, caller, user, mask)

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
        edited, mask, intent = read(edits, read_mask_of(request, UserMessage), intent_of(request, caller))
        grant = policy.grant_write(caller, _own_id(caller), edited.keys())
        write = MetadataWrite(caller, grant, edited, {Document.UNSAFE: request.expected_etag})
        return self._replies.of(response, caller, await self._metadata.write(write, intent), mask)

    async def get_profile(self, request: pb.GetProfileRequest, caller: Caller) -> Encoded[pb.GetProfileResponse]:
        (user_id,) = read(required(request.user_id, "user_id"))
        user = await self._users.get_profile(caller, user_id)
        return self._profiles.of_profile(pb.GetProfileResponse, user)

    async def batch_get_profiles(
        self, request: pb.BatchGetProfilesRequest, caller: Caller
    ) -> Encoded[pb.BatchGetProfilesResponse]:
        (user_ids,) = read(ids_of(request.user_ids, "user_ids"))
        users = await self._users.get_profiles(caller, user_ids)
        response = pb.BatchGetProfilesResponse
        return gathered(response, user_ids, users, lambda user: self._profiles.of_profile(response, user))


def _own_id(caller: Caller) -> str:
    """Return the id of the user that a call acts as.

    Raises:
        UsermetaError: USER_NOT_FOUND, for an outside identity that is no user, or no longer.
    """
    if not caller.principal.user_id:
        raise UsermetaError(Reason.USER_NOT_FOUND)
    return caller.principal.user_id
