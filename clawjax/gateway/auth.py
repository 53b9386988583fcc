"""Who is asking: the caller's key and the scope that turns are kept in.

A key comes as OpenAI's clients send it (`Authorization: Bearer`) or as Anthropic's (`x-api-key`).

Invariant: a credential is compared in constant time and never leaves this module; what does is a
short digest.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from clawjax.errors import WireError

__all__ = ["LOCAL_SCOPE", "Authenticator"]

LOCAL_SCOPE = "local"
"""The scope of callers without a credential."""

_DIGEST_CHARACTERS = 16
_BEARER = "bearer "


class Authenticator:
    """Checks the caller's key where one is configured."""

    def __init__(self, api_key: str | None) -> None:
        self._api_key = api_key.encode() if api_key else None

    def __repr__(self) -> str:
        return f"Authenticator(is_required={self._api_key is not None})"

    def scope_of(self, headers: Mapping[str, str]) -> str:
        """The caller's scope.

        Raises:
            WireError: 401, where a key is configured and not presented.
        """
        credential = _credential(headers)
        if self._api_key is not None:
            if not credential:
                raise _unauthorized("missing bearer token")
            if not hmac.compare_digest(credential, self._api_key):
                raise _unauthorized("invalid api key")
        if not credential:
            return LOCAL_SCOPE
        return hashlib.sha256(credential).hexdigest()[:_DIGEST_CHARACTERS]


def _credential(headers: Mapping[str, str]) -> bytes:
    """The bearer token; where there is none, the API key."""
    header = headers.get("authorization", "")
    bearer = header[len(_BEARER) :] if header.lower().startswith(_BEARER) else ""
    return (bearer.strip() or headers.get("x-api-key", "").strip()).encode("latin-1", "replace")


def _unauthorized(message: str) -> WireError:
    return WireError(message, status=401, code="invalid_api_key")
