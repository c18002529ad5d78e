"""FrontendService: every handler reads its request, asks the policy, calls one use case, and answers.

Whose user a call is about is the principal's id, never anything in the request.
"""

from collections.abc import Mapping
from typing import Final

from usermeta.frontend.v1 import frontend_service_pb2 as pb
from usermeta_server import policy
from usermeta_server.audience import Caller
from usermeta_server.core.metadata import Edit, MetadataWrite
from usermeta_server.core.use_cases import UseCases
from usermeta_server.model import Document
from usermeta_server.policy import WRITABLE_FIELDS, Viewer
from usermeta_server.services.batches import gather
from usermeta_server.services.replies import Replies
from usermeta_server.services.requests import (
    batch_of,
    intent_of,
    merges_of,
    patches_of,
    replacements_of,
    required,
    update_of,
)

_FIELDS: Final = WRITABLE_FIELDS[Viewer.SELF]


class FrontendService:
    """Handlers of `usermeta.frontend.v1.FrontendService`, whose proto says what each does."""

    def __init__(self, use_cases: UseCases, reply_cache_bytes: int) -> None:
        """Serve these use cases."""
        self._users = use_cases.users
        self._metadata = use_cases.metadata
        self._limits = use_cases.limits
        # Every response with one user has it in field 1, so that the bytes of one are the bytes of all.
        self._replies = Replies(pb.GetUserResponse, "user", reply_cache_bytes)
        self._profiles = Replies(pb.GetProfileResponse, "profile", reply_cache_bytes)

    async def get_user(self, _: pb.GetUserRequest, caller: Caller) -> bytes:
        return self._replies.of(caller, await self._users.get(caller, caller.principal.id))

    async def update_user(self, request: pb.UpdateUserRequest, caller: Caller) -> bytes:
        values = update_of(request.user, request.update_mask, _FIELDS)
        intent = intent_of(request, caller)
        user = await self._users.update(caller, caller.principal.id, values, request.expected_etag, intent)
        return self._replies.of(caller, user)

    async def merge_user_metadata(self, request: pb.MergeUserMetadataRequest, caller: Caller) -> bytes:
        write = _write(request, caller, merges_of(request))
        return self._replies.of(caller, await self._metadata.write(write, intent_of(request, caller)))

    async def replace_user_metadata(self, request: pb.ReplaceUserMetadataRequest, caller: Caller) -> bytes:
        write = _write(request, caller, replacements_of(request))
        return self._replies.of(caller, await self._metadata.write(write, intent_of(request, caller)))

    async def patch_user_metadata(self, request: pb.PatchUserMetadataRequest, caller: Caller) -> bytes:
        write = _write(request, caller, patches_of(request, self._limits))
        return self._replies.of(caller, await self._metadata.write(write, intent_of(request, caller)))

    async def get_profile(self, request: pb.GetProfileRequest, caller: Caller) -> bytes:
        user_id = required(request.user_id, "user_id")
        return self._profiles.of_profile(await self._users.get_profile(caller, user_id))

    async def batch_get_profiles(self, request: pb.BatchGetProfilesRequest, caller: Caller) -> bytes:
        user_ids = batch_of(request.user_ids, "user_ids")
        users = await self._users.get_profiles(caller, user_ids)
        batch = gather(user_ids, users, self._profiles.of_profile)
        rest = pb.BatchGetProfilesResponse(missing_user_ids=batch.missing, deferred_user_ids=batch.deferred)
        # A response with one profile, in field 1, is also one element of the repeated field 1 of this one.
        return b"".join((*batch.replies, rest.SerializeToString()))


MetadataRequest = pb.MergeUserMetadataRequest | pb.ReplaceUserMetadataRequest | pb.PatchUserMetadataRequest


def _write(request: MetadataRequest, caller: Caller, edits: Mapping[Document, Edit]) -> MetadataWrite:
    grant = policy.grant_write(caller, caller.principal.id, edits.keys())
    return MetadataWrite(caller, grant, edits, {Document.UNSAFE: request.expected_etag})
