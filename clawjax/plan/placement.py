"""Which devices learner and engine are on, as the configuration has it."""

from __future__ import annotations

from typing import NamedTuple

from clawjax.config import RunConfig
from clawjax.config.checks import require
from clawjax.plan.division import Division

__all__ = ["Servers", "is_shared", "learner_division", "servers_of"]


class Servers(NamedTuple):
    """Copies of the engine."""

    copies: int
    tensor: int
    """Devices that share one copy."""

    @property
    def devices(self) -> int:
        """All of them."""
        return self.copies * self.tensor


def learner_division(config: RunConfig) -> Division:
    """The learner's mesh."""
    return Division()


def servers_of(config: RunConfig) -> Servers:
    """The engine's copies."""
    return Servers(1, 1)


def is_shared(config: RunConfig) -> bool:
    """Whether learner and engine are on the same devices.

    Raises:
        ConfigError: together they take more than there are, without being the same.
    """
    there = config.hardware.devices
    learner, engine = learner_division(config).devices, servers_of(config).devices
    require(
        max(learner, engine) <= there,
        f"learner.mesh takes {learner} devices and the engine {engine}, hardware.devices={there}: "
        "add devices or use fewer",
    )
    if learner + engine <= there:
        return False
    require(
        learner == engine == there,
        f"learner.mesh takes {learner} devices and the engine {engine}, together more than "
        f"hardware.devices={there}: give them devices of their own, or each all of them",
    )
    return True
