"""Sign-ups: from the first form to the user, exactly once."""

from usermeta_server.core.sign_ups.requirements import Requirements, SignUpRules
from usermeta_server.core.sign_ups.use_cases import Completion, NewSignUp, SignUps

__all__ = ["Completion", "NewSignUp", "Requirements", "SignUpRules", "SignUps"]
