"""What users bring themselves: by import path, with options of its own.

Invariant: options are told and kept as they were written, so none of them holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clawjax.config.checks import require
from clawjax.config.secrets import find_secret_option
from clawjax.config.shape import check_shape

__all__ = ["OwnConfig", "read_own", "refuse_secret_options"]


@dataclass
class OwnConfig:
    """Something of a user's own."""

    path: str = ""
    """`package.module:name`, importable where the run is started."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its own, given as keyword arguments."""

    def __str__(self) -> str:
        """As a call."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.path}({given})" if given else self.path


def read_own(written: object, key: str) -> OwnConfig:
    """What somebody wrote under a name that they chose.

    Args:
        written: keys and values, or what was read already.
        key: of it.

    Raises:
        ConfigError: an unknown key, no path, or an option that is called like a secret.
    """
    if not isinstance(written, OwnConfig):
        check_shape(OwnConfig, written, f"{key}.")
        assert isinstance(written, Mapping)
        written = OwnConfig(**written)
    require(
        isinstance(written.path, str) and bool(written.path),
        f"{key}.path={written.path!r} is no import path: write package.module:name",
    )
    refuse_secret_options(written.options, f"{key}.options")
    return written


def refuse_secret_options(options: object, key: str = "") -> None:
    """Options are saved with the run and shown, unlike the environment.

    Args:
        options: some, or a configuration with some in it, as plain mappings, lists and texts.
        key: of them; empty for a whole configuration.

    Raises:
        ConfigError: one is called like a secret; the message says which, not what it is.
    """
    found = find_secret_option(options, key)
    require(
        found is None,
        f"{found} would be saved with the run, and shown: put it into an environment variable, "
        f"and let {found}_env name the variable, for your module to read",
    )
