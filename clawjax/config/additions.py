"""Settings that came after results had been measured.

Invariant: at its default such a setting leaves everything as it was before it came, so that what
was measured then counts as it did.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from clawjax.config.objective import ObjectiveConfig
from clawjax.config.rewarding import RewardConfig
from clawjax.config.serving import EngineConfig
from clawjax.config.sglang import LaunchConfig

__all__ = ["drop_unset_additions"]

_ADDITIONS = {
    "reward.own": RewardConfig,
    "objective.credit": ObjectiveConfig,
    "engine.cache_dtype": EngineConfig,
    "engine.sglang.launch.key_by": LaunchConfig,
}
"""The setting, and whose default it is."""


def drop_unset_additions(settings: dict[str, Any]) -> None:
    """Take out what came later and has its default.

    Args:
        settings: a configuration as plain mappings, or some settings of one; changed in place.
    """
    for path, kind in _ADDITIONS.items():
        *groups, name = path.split(".")
        group: dict[str, Any] = functools.reduce(lambda at, key: at.get(key, {}), groups, settings)
        if name in group and group[name] == dataclasses.asdict(kind())[name]:
            del group[name]
