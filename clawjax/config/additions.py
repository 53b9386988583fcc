"""Settings that came after results had been measured.

Invariant: at its default such a setting leaves everything as it was before it came, so that what
was measured then counts as it did.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from clawjax.config.objective import ObjectiveConfig
from clawjax.config.rewarding import RewardConfig
from clawjax.config.serving import EngineConfig

__all__ = ["drop_unset_additions"]

_ADDITIONS = {
    "reward": (RewardConfig, "own"),
    "objective": (ObjectiveConfig, "credit"),
    "engine": (EngineConfig, "cache_dtype"),
}
"""By group: whose default it is, and the setting."""


def drop_unset_additions(settings: dict[str, Any]) -> None:
    """Take out what came later and has its default.

    Args:
        settings: a whole configuration as plain mappings, changed in place.
    """
    for group, (kind, name) in _ADDITIONS.items():
        if settings[group][name] == dataclasses.asdict(kind())[name]:
            del settings[group][name]
