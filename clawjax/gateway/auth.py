"""Who is asking: the caller's key, what it may do, and the scope that its turns are kept in.

A key comes as OpenAI's clients send it (`Authorization: Bearer`) or as Anthropic's (`x-api-key`).

Invariant: a secret never leaves this module but to be compared; what does leave is a short digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from clawjax.errors import WireError
from clawjax.keys import LOCAL_SCOPE, KeyRing, Role, digest_of

__all__ = ["Authenticator", "Principal"]

_DIGEST_CHARACTERS = 16
_BEARER = "bearer "


class Principal(NamedTuple):
    """Who asks."""

    scope: str
    """The key's id: sessions never cross it."""
    is_logged: bool = True
    """Whether what this key asks for is kept."""
    is_checked: bool = True
    """Whether a key was asked for; without one a scope tells callers apart, no more."""


class Authenticator:
    """Checks the caller's key where one is required."""

    def __init__(self, keys: KeyRing) -> None:
        """Keys that are made or revoked later count as well."""
        self._keys = keys

    def admit(self, headers: Mapping[str, str], role: Role | None = None) -> Principal:
        """The caller, if they may do what needs this role; None needs a key only.

        Raises:
            WireError: 401 without a key that is good, 403 where it lacks the role.
        """
        credential = _credential(headers)
        if not self._keys.is_required:
            return Principal(_scope(credential), is_checked=False)
        if not credential:
            raise _unauthorized("missing bearer token")
        key = self._keys.find(credential)
        if key is None:
            raise _unauthorized("invalid api key")
        if role is not None and role not in key.roles:
            msg = (
                f"key {key.key_id} has the roles {', '.join(sorted(key.roles))}, this needs "
                f"{role}: use another key, or make one with `clawjax keys create`"
            )
            raise WireError(msg, status=403, code="missing_role", kind="permission_error")
        return Principal(key.key_id, key.is_logged)


def _scope(credential: bytes) -> str:
    """Callers are told apart also where any credential will do."""
    return digest_of(credential)[:_DIGEST_CHARACTERS] if credential else LOCAL_SCOPE


def _credential(headers: Mapping[str, str]) -> bytes:
    """The bearer token; where there is none, the API key."""
    header = headers.get("authorization", "")
    bearer = header[len(_BEARER) :] if header.lower().startswith(_BEARER) else ""
    return (bearer.strip() or headers.get("x-api-key", "").strip()).encode("latin-1", "replace")


def _unauthorized(message: str) -> WireError:
    return WireError(message, status=401, code="invalid_api_key")
