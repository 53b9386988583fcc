"""`/v1/keys`: what the role admin may do from afar: see who has a key, and revoke one.

Keys are made at the machine only, so that no key can make another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clawjax.errors import ConfigError, WireError
from clawjax.gateway.auth import Authenticator
from clawjax.keys import Key, KeyFile, KeyRing, Role

__all__ = ["KeysEndpoint"]


class KeysEndpoint:
    """`GET /v1/keys` and `DELETE /v1/keys/{key_id}`."""

    def __init__(
        self, keys: KeyRing, authenticator: Authenticator, clock: Callable[[], float]
    ) -> None:
        self._file = keys.file
        self._authenticator = authenticator
        self._clock = clock

    async def list_all(self, request: Request) -> Response:
        """Ids, names, roles; nothing that opens anything."""
        self._authenticator.admit(request.headers, Role.ADMIN)
        keys = () if self._file is None else await asyncio.to_thread(self._file.read)
        return JSONResponse({"object": "list", "data": list(map(_body, keys))})

    async def revoke(self, request: Request) -> Response:
        """Refuse a key from the next request on."""
        self._authenticator.admit(request.headers, Role.ADMIN)
        key_id = request.path_params["key_id"]
        if self._file is None:
            raise _unknown(key_id)
        return JSONResponse(_body(await asyncio.to_thread(self._revoke, self._file, key_id)))

    def _revoke(self, file: KeyFile, key_id: str) -> Key:
        """Runs in a thread. Over HTTP a key is called by its id only."""
        if all(key.key_id != key_id or key.revoked_at is not None for key in file.read()):
            raise _unknown(key_id)
        try:
            return file.revoke(key_id, now=self._clock())
        except ConfigError as error:
            raise WireError(str(error), status=500, code="keys_unavailable") from error


def _unknown(key_id: str) -> WireError:
    msg = f"no live key of the run has the id {key_id[:80]!r}: see GET /v1/keys"
    return WireError(msg, status=404, code="not_found", param="key_id")


def _body(key: Key) -> dict[str, object]:
    return {
        "id": key.key_id,
        "name": key.name,
        "roles": sorted(key.roles),
        "created_at": key.created_at,
        "is_logged": key.is_logged,
        "revoked_at": key.revoked_at,
    }
