"""A quick user and an endpoint that obliges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clawjax.envs.user_settings import UserSettings


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., UserSettings]:
    """Settings of a user who thinks fast and gives up soon."""

    def build(base_url: str, **changes: Any) -> UserSettings:
        quick: dict[str, Any] = {
            "base_url": base_url,
            "run_dir": str(tmp_path),
            "think_s": 0.0,
            "poll_s": 0.02,
            "max_turns": 12,
            "max_seconds": 20.0,
            "retry_s": 5.0,
            "updates": 5,
        }
        return UserSettings(**quick | changes)

    return build
