"""The file of a run's keys: `keys.json` in its folder.

A file, not a table of the turn log: a gateway can look at it for every request at the price of a
`stat`, and a log that is copied, exported or shared takes no keys along. Invariants: it holds no
secret; only its owner may read it; readers see all of the old or all of the new; keys are revoked,
never removed, so that a folder with keys stays closed.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.files import lock, replace_file
from clawjax.keys.key import Key, Role

__all__ = ["KEY_FILE", "KeyFile"]

KEY_FILE = "keys.json"
"""Its name in the run's folder."""

_FORMAT = 1
_LOCK_WAIT_S = 10.0
_LOCK_POLL_S = 0.05


class KeyFile:
    """Reads and changes the file; several processes may."""

    def __init__(self, path: Path) -> None:
        """Name the file, which need not exist."""
        self.path = path

    def stamp(self) -> tuple[int, int, int] | None:
        """Differs whenever the content does; None where there is no file.

        Raises:
            OSError: it cannot be looked at.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> tuple[Key, ...]:
        """All keys, the revoked ones too, in the order in which they were made.

        Raises:
            ConfigError: the file is not readable as one of keys.
        """
        try:
            content = json.loads(self.path.read_bytes())
            if content["format"] != _FORMAT:
                raise ValueError(content["format"])
            return tuple(map(_decode, content["keys"]))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = (
                f"{self.path} is not readable as a file of keys ({type(error).__name__}): restore "
                "it, or remove it and make new keys with `clawjax keys create`"
            )
            raise ConfigError(msg) from error

    def add(self, key: Key) -> None:
        """Keep one more key.

        Raises:
            ConfigError: a live key has that name, or the file cannot be used.
        """
        with self._changing() as keys:
            if any(other.name == key.name and other.revoked_at is None for other in keys):
                msg = f"there is a key named {key.name!r}: revoke it first, or choose another name"
                raise ConfigError(msg)
            self._write([*keys, key])

    def revoke(self, which: str, *, now: float) -> Key:
        """Revoke the live key with this id or name.

        Raises:
            ConfigError: there is none, or the file cannot be used.
        """
        with self._changing() as keys:
            found = [k for k in keys if which in (k.key_id, k.name) and k.revoked_at is None]
            if not found:
                msg = f"no live key has the id or name {which[:80]!r}: see `clawjax keys list`"
                raise ConfigError(msg)
            revoked = replace(found[0], revoked_at=now)
            self._write([revoked if key is found[0] else key for key in keys])
        return revoked

    @contextmanager
    def _changing(self) -> Generator[tuple[Key, ...]]:
        """The keys, while nobody else changes them."""
        try:
            with self.path.with_name(f"{self.path.name}.lock").open("w") as file:
                if not lock(file, wait_s=_LOCK_WAIT_S, poll_s=_LOCK_POLL_S):
                    msg = f"{self.path} has been locked for {_LOCK_WAIT_S:.0f} s: try again"
                    raise ConfigError(msg)
                yield self.read()
        except OSError as error:
            msg = f"{self.path} cannot be written ({error.strerror}): check the folder"
            raise ConfigError(msg) from error

    def _write(self, keys: Sequence[Key]) -> None:
        content = json.dumps({"format": _FORMAT, "keys": list(map(_encode, keys))}, indent=1)
        replace_file(self.path, content + "\n", mode=0o600)


def _encode(key: Key) -> dict[str, Any]:
    return {**asdict(key), "roles": sorted(key.roles)}


def _decode(values: dict[str, Any]) -> Key:
    key = Key(**{**values, "roles": frozenset(map(Role, values["roles"]))})
    if len(key.digest) != 64 or not key.digest.startswith(key.key_id):
        raise ValueError(key.key_id)
    return key
