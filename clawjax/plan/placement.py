"""Which devices learner and engine are on, as the configuration has it."""

from __future__ import annotations

import math
from typing import NamedTuple

from clawjax.config import RunConfig
from clawjax.config.checks import require
from clawjax.models.architecture import Architecture
from clawjax.models.devices import ONE_PROCESS_A_CHIP
from clawjax.plan.division import Division

__all__ = ["Servers", "is_shared", "learner_division", "require_divisible", "servers_of"]


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
    """The learner's mesh; an axis left open takes what the engine leaves.

    The embedded engine leaves all: its process sees the devices that the learner's sees.

    Raises:
        ConfigError: what is left cannot be divided so.
    """
    sizes = config.learner.mesh.sizes()
    if -1 not in sizes.values():
        return Division(**sizes)
    there, engine = config.hardware.devices, servers_of(config).devices
    is_apart = config.engine.kind != "embedded" and there > engine
    left = there - engine if is_apart else there
    fixed = math.prod(size for size in sizes.values() if size != -1)
    require(
        left % fixed == 0,
        f"learner.mesh={sizes} takes a multiple of {fixed} devices, {left} of "
        f"hardware.devices={there} are left: change an axis",
    )
    return Division(**{name: left // fixed if n == -1 else n for name, n in sizes.items()})


def servers_of(config: RunConfig) -> Servers:
    """The engine's copies: the embedded one, those that are launched, or those attached to.

    Raises:
        ConfigError: `hardware.engine_devices` says otherwise.
    """
    engine, given = config.engine, config.hardware.engine_devices
    if engine.kind == "embedded":
        servers = Servers(1, 1)
    elif engine.sglang.launch.servers:
        servers = Servers(engine.sglang.launch.servers, engine.sglang.launch.tp)
    else:
        copies = len(engine.sglang.urls)
        servers = Servers(copies, max(1, (given or copies) // copies))
    require(
        given in (None, servers.devices),
        f"hardware.engine_devices={given}, but the engine is {servers.copies} times on "
        f"{servers.tensor} devices: use {servers.devices}",
    )
    return servers


def require_divisible(arch: Architecture, division: Division) -> None:
    """Check that the mesh divides the model, as the learner does when it starts.

    Raises:
        ConfigError: it does not.
    """
    for axis, what, length in (
        ("tensor", "heads", arch.num_heads),
        ("tensor", "feed-forward width", arch.intermediate_size),
        ("fsdp", "hidden size", arch.hidden_size),
    ):
        size = getattr(division, axis)
        require(
            length % size == 0,
            f"learner.mesh.{axis}={size} does not divide the model's {what} of {length}: use a "
            "divisor, and more devices on another axis",
        )


def is_shared(config: RunConfig) -> bool:
    """Whether there is a device that both learner and engine are on.

    The embedded engine is on the first device, and so is the learner, however many there are.
    Servers have devices of their own where there are enough.

    Raises:
        ConfigError: together they take more than there are, without being the same; or they would
            share a TPU.
    """
    there = config.hardware.devices
    learner, engine = learner_division(config).devices, servers_of(config).devices
    require(
        max(learner, engine) <= there,
        f"learner.mesh takes {learner} devices and the engine {engine}, hardware.devices={there}: "
        "add devices or use fewer",
    )
    is_embedded = config.engine.kind == "embedded"
    if not is_embedded and learner + engine <= there:
        return False
    require(not is_embedded or config.hardware.kind != "tpu", ONE_PROCESS_A_CHIP)
    require(
        is_embedded or learner == engine == there,
        f"learner.mesh takes {learner} devices and the engine {engine}, together more than "
        f"hardware.devices={there}: give them devices of their own, or each all of them",
    )
    return True
