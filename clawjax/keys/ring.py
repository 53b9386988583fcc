"""The keys that are good right now, found by their secrets.

Invariants: a change of the file counts from the next request on; secrets are compared in constant
time, by their digests; where a key was ever required, one is: a file that vanishes or cannot be
read opens nothing, as nobody can tell whom it has revoked, and is tried again at every request.
"""

from __future__ import annotations

import hmac
import logging

from clawjax.errors import ConfigError
from clawjax.keys.file import KeyFile
from clawjax.keys.key import ALL_ROLES, Key, digest_of, key_of

__all__ = ["ENVIRONMENT", "KeyRing", "environment_key"]

logger = logging.getLogger(__name__)

ENVIRONMENT = "environment"
"""The name of the key that is in an environment variable."""


def environment_key(secret: str) -> Key:
    """The key of that name."""
    return key_of(secret, name=ENVIRONMENT, roles=ALL_ROLES, created_at=0.0)


class KeyRing:
    """The file's keys, and one from the environment that may do everything."""

    def __init__(self, file: KeyFile | None = None, *, secret: str | None = None) -> None:
        """Read the file.

        Args:
            file: of keys; None where there are none.
            secret: of one more key, with all roles; empty is none.

        Raises:
            ConfigError: the file is damaged.
        """
        self._environment: tuple[Key, ...] = ()
        if secret:
            self._environment = (environment_key(secret),)
        self._file = file
        self._stamp = None if file is None else file.stamp()
        self._keys = self._environment + (() if file is None else file.read())
        self._was_required = bool(self._keys)
        self._is_unreadable = False
        self._told: object = None

    def __repr__(self) -> str:
        return f"KeyRing(is_required={self._was_required}, keys={len(self._keys)})"

    @property
    def file(self) -> KeyFile | None:
        """Where keys are made and revoked."""
        return self._file

    @property
    def is_required(self) -> bool:
        """Whether requests need a key: there is one, or was, be it revoked; or nobody can tell."""
        self._refresh()
        return self._was_required or self._is_unreadable

    @property
    def is_empty(self) -> bool:
        """Whether no key is good."""
        self._refresh()
        return all(key.revoked_at is not None for key in self._keys)

    def find(self, secret: bytes) -> Key | None:
        """The live key with this secret. Looks at every key, whichever it is."""
        self._refresh()
        digest, found = digest_of(secret), None
        for key in self._keys:
            if hmac.compare_digest(digest, key.digest) and key.revoked_at is None:
                found = key
        return found

    def _refresh(self) -> None:
        """Read the file again where it has changed; while that fails none of its keys is good."""
        if self._file is None:
            return
        stamp: object = "unknown"
        try:
            stamp = self._file.stamp()
            if stamp == self._stamp and not self._is_unreadable:
                return
            self._keys = self._environment + self._file.read()
        except (ConfigError, OSError) as error:
            self._close(stamp, error)
            return
        self._stamp, self._told = stamp, None
        self._is_unreadable = False
        self._was_required = self._was_required or bool(self._keys)

    def _close(self, stamp: object, error: Exception) -> None:
        """Leave the environment's key only, and say so once for every state of the file."""
        self._keys, self._is_unreadable = self._environment, True
        if stamp != self._told:
            self._told = stamp
            logger.error("no key of the file is good until it can be read: %s", error)
