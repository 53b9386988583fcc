"""A key as it is kept: never the secret, only its digest.

The digest is a plain sha256, not scrypt. A slow hash is for secrets that can be guessed; these are
256 random bits, for which every guess fails whatever it costs, and a hash of 50 ms and 16 MB per
request would be a way to bring the endpoint down. So secrets are made here and cannot be chosen.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from clawjax.errors import ConfigError

__all__ = [
    "ALL_ROLES",
    "LOCAL_SCOPE",
    "SECRET_PREFIX",
    "Key",
    "NewKey",
    "Role",
    "digest_of",
    "has_form_of_scope",
    "key_of",
    "new_key",
]

LOCAL_SCOPE = "local"
"""The scope (`Turn.scope`) of callers without a credential."""

SECRET_PREFIX = "ck-"  # noqa: S105 - what secrets begin with
"""Tells a key of ours from others' in a text; see `clawjax.gateway.redaction`."""
_SECRET_BYTES = 32
_ID_CHARACTERS = 16
_LONGEST_NAME = 80


class Role(StrEnum):
    """What a key may do."""

    CHAT = "chat"
    """Ask for replies, and have its own sessions forgotten."""
    FEEDBACK = "feedback"
    """Rate the replies of its own sessions."""
    ADMIN = "admin"
    """See the list of keys and revoke them; where people review turns (`reward.modules` has
    `human`), read and label those in the review queue, whoever's. It opens no other sessions."""


ALL_ROLES = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Key:
    """One key."""

    key_id: str
    """The beginning of the digest: what people call it by, and the scope (`Turn.scope`) of its
    turns."""
    name: str
    digest: str = field(repr=False)
    """sha256 of the secret, in hexadecimal."""
    roles: frozenset[Role]
    created_at: float
    """Unix seconds."""
    is_logged: bool = True
    """False: what it asks for is answered and kept nowhere."""
    revoked_at: float | None = None


class NewKey(NamedTuple):
    """A key and, this once, its secret."""

    secret: str
    key: Key


def digest_of(secret: bytes) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret).hexdigest()


def has_form_of_scope(text: str) -> bool:
    """Whether turns can be kept under it: the beginning of a digest, whoever's, or `local`."""
    return text == LOCAL_SCOPE or bool(re.fullmatch(rf"[0-9a-f]{{{_ID_CHARACTERS}}}", text))


def key_of(
    secret: str, *, name: str, roles: frozenset[Role], created_at: float, is_logged: bool = True
) -> Key:
    """The record of a secret."""
    digest = digest_of(secret.encode())
    return Key(digest[:_ID_CHARACTERS], name, digest, roles, created_at, is_logged)


def new_key(name: str, roles: Iterable[Role], *, now: float, is_logged: bool = True) -> NewKey:
    """Make a key of 256 random bits.

    Raises:
        ConfigError: no role, or a name that cannot be shown.
    """
    granted = frozenset(roles)
    if not granted:
        msg = f"key {name!r} has no role: give at least one of {', '.join(Role)}"
        raise ConfigError(msg)
    if not name.isprintable() or not 1 <= len(name) <= _LONGEST_NAME:
        msg = f"a key's name has 1 to {_LONGEST_NAME} printable characters: got {name[:40]!r}"
        raise ConfigError(msg)
    secret = SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    return NewKey(
        secret, key_of(secret, name=name, roles=granted, created_at=now, is_logged=is_logged)
    )
