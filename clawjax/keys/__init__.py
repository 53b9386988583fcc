"""Who may use an endpoint: keys, their roles, and the file that keeps them."""

from clawjax.keys.file import KEY_FILE, KeyFile
from clawjax.keys.key import ALL_ROLES, Key, NewKey, Role, digest_of, new_key
from clawjax.keys.ring import KeyRing

__all__ = [
    "ALL_ROLES",
    "KEY_FILE",
    "Key",
    "KeyFile",
    "KeyRing",
    "NewKey",
    "Role",
    "digest_of",
    "new_key",
]
