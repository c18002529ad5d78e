"""The policy: who may call what, and who may read and write which part of a user.

Tables and nothing else decide; what no table lists is refused. Only this package makes a `View`, without which no reply
about a user can be built, and a `WriteGrant`, without which there is no `AllowedWrite`, and so nothing to write.
"""

from usermeta_server.policy.methods import MethodRule, ProfileAudience, Traffic, authorize, method_rules
from usermeta_server.policy.standing import admit, admit_to_sign_up, sign_up_viewer_of, viewer_of
from usermeta_server.policy.tables import (
    DOCUMENTS,
    FIELDS,
    PRIVATE_DOCUMENTS,
    SIGN_UP_DOCUMENTS,
    SIGN_UP_FIELDS,
    SIGN_UP_VISIBLE,
    SIGN_UP_WRITABLE_FIELDS,
    VISIBLE,
    WRITABLE_FIELDS,
    Access,
    Viewer,
    sign_up_documents,
)
from usermeta_server.policy.views import View, created_sign_up_view, created_user_view, profile, sign_up_view, view
from usermeta_server.policy.writes import (
    AllowedWrite,
    WriteGrant,
    completion_of,
    grant_sign_up,
    grant_sign_up_write,
    grant_write,
    vouched_for,
    withdraw_verification,
)

__all__ = [
    "DOCUMENTS",
    "FIELDS",
    "PRIVATE_DOCUMENTS",
    "SIGN_UP_DOCUMENTS",
    "SIGN_UP_FIELDS",
    "SIGN_UP_VISIBLE",
    "SIGN_UP_WRITABLE_FIELDS",
    "VISIBLE",
    "WRITABLE_FIELDS",
    "Access",
    "AllowedWrite",
    "MethodRule",
    "ProfileAudience",
    "Traffic",
    "View",
    "Viewer",
    "WriteGrant",
    "admit",
    "admit_to_sign_up",
    "authorize",
    "completion_of",
    "created_sign_up_view",
    "created_user_view",
    "grant_sign_up",
    "grant_sign_up_write",
    "grant_write",
    "method_rules",
    "profile",
    "sign_up_documents",
    "sign_up_view",
    "sign_up_viewer_of",
    "view",
    "viewer_of",
    "vouched_for",
    "withdraw_verification",
]
