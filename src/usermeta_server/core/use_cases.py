"""All use cases together: what a service is given."""

from typing import NamedTuple

from usermeta_server.core.documents import Limits
from usermeta_server.core.history import History
from usermeta_server.core.metadata import Metadata
from usermeta_server.core.search import Search
from usermeta_server.core.secret_keys import SecretKeys
from usermeta_server.core.sessions import Sessions
from usermeta_server.core.sign_ups import SignUps
from usermeta_server.core.tokens import Tokens
from usermeta_server.core.users import Users
from usermeta_server.core.watch import Watches


class UseCases(NamedTuple):
    """The use cases, with what handlers need to read requests for them."""

    users: Users
    metadata: Metadata
    sign_ups: SignUps
    sessions: Sessions
    secret_keys: SecretKeys
    search: Search
    history: History
    watches: Watches
    page_tokens: Tokens
    limits: Limits
