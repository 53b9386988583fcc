"""Credit of one's own: a function that gives advantages instead of a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clawjax.config.checks import require
from clawjax.config.own import OwnConfig, refuse_secret_options

__all__ = ["CreditConfig"]

_OBJECTIVES = ("binary_rl", "combined")
"""Those whose term of scores is one of advantages."""


@dataclass
class CreditConfig:
    """Who gives advantages."""

    path: str | None = None
    """`package.module:function`, called with the turns of a batch; null: `objective.baseline`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of that function, given as keyword arguments."""
    compares_replies: bool = False
    """Whether it compares replies to the same prompt: those of an answer with several choices are
    then waited for, and learnt from together."""

    def __post_init__(self) -> None:
        """What is of no function would change nothing."""
        for key, value in (("options", self.options), ("compares_replies", self.compares_replies)):
            require(
                self.is_own or not value,
                f"objective.credit.{key}={value} is of a function that objective.credit.path does "
                "not name: name it, package.module:function, or leave this out",
            )
        refuse_secret_options(self.options, "objective.credit.options")

    def __str__(self) -> str:
        """As a call."""
        return str(OwnConfig(self.path or "", self.options))

    @property
    def is_own(self) -> bool:
        """Whether there is such a function."""
        return self.path is not None

    def check_beside(self, objective: str, idle: Mapping[str, tuple[object, object]]) -> None:
        """Refuse an objective without advantages of scores, and settings that would do nothing.

        Args:
            objective: its name.
            idle: by setting, its value and the one that it has where nobody sets it.

        Raises:
            ConfigError: there is a function of one's own, and one of these.
        """
        if not self.is_own:
            return
        require(
            objective in _OBJECTIVES,
            f"objective.credit.path={self.path} gives advantages, which objective.name={objective} "
            f"does not have: use {' or '.join(_OBJECTIVES)}, or null",
        )
        for key, (value, usual) in idle.items():
            require(
                value == usual,
                f"objective.credit.path={self.path} gives advantages itself, so that "
                f"objective.{key}={value} would do nothing: leave it at {usual}, or set "
                "objective.credit.path to null",
            )
