"""A configuration as plain values, to be sent to a process or kept in a file.

Invariant: `to_run_config` makes of them the configuration that they were made of. Nothing in one is
an interpolation, so what looks like one (`${name}` in a rule) is written so that it stays a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from enum import Enum
from typing import Any

from clawjax.config.running import RunConfig

__all__ = ["written"]

_LIKE_INTERPOLATION = re.compile(r"(\\*)\$\{")


def written(config: RunConfig) -> dict[str, Any]:
    """Mappings, lists and values, enums by name."""
    return {name: _plain(value) for name, value in asdict(config).items()}


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, str):  # OmegaConf halves the backslashes right before a `${`
        return _LIKE_INTERPOLATION.sub(r"\1\1\\${", value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
