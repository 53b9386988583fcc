"""Who may use an endpoint: keys, their roles, and the file that keeps them."""

from clawjax.keys.file import KEY_FILE, KeyFile
from clawjax.keys.key import (
    ALL_ROLES,
    LOCAL_SCOPE,
    Key,
    NewKey,
    Role,
    digest_of,
    has_form_of_scope,
    new_key,
)
from clawjax.keys.ring import ENVIRONMENT, KeyRing, environment_key

__all__ = [
    "ALL_ROLES",
    "ENVIRONMENT",
    "KEY_FILE",
    "LOCAL_SCOPE",
    "Key",
    "KeyFile",
    "KeyRing",
    "NewKey",
    "Role",
    "digest_of",
    "environment_key",
    "has_form_of_scope",
    "new_key",
]
