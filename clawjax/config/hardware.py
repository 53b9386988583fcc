"""What a run is planned for."""

from __future__ import annotations

from dataclasses import dataclass

from clawjax.config.checks import at_least, require, within

__all__ = ["KINDS", "HardwareConfig"]

KINDS = ("cpu", "gpu", "tpu")


@dataclass
class HardwareConfig:
    """The devices that `run.plan=true` checks a configuration against; a run reads none of this."""

    kind: str = "cpu"
    """`cpu`, `gpu` or `tpu`. A CPU counts as one device, whose memory is the machine's."""
    hosts: int = 1
    devices: int = 1
    """Of all hosts together."""
    memory_gib: float | None = None
    """Of one device, GiB; null refuses nothing."""
    usable: float = 0.9
    """The part of it that weights and arrays may take: drivers, compiled programs and
    fragmentation have the rest."""
    engine_devices: int | None = None
    """Devices that serve. Null: as many as the engine's settings name. Where these and the
    learner's are more than there are, both are on the same devices; the embedded engine is always
    on the learner's first."""

    def __post_init__(self) -> None:
        """Reject machines that cannot be."""
        require(
            self.kind in KINDS, f"hardware.kind={self.kind!r} is unknown: use {', '.join(KINDS)}"
        )
        at_least("hardware.hosts", self.hosts, 1)
        require(
            self.devices >= self.hosts and self.devices % self.hosts == 0,
            f"hardware.devices={self.devices} cannot be shared equally by "
            f"hardware.hosts={self.hosts}: use a multiple",
        )
        if self.memory_gib is not None:
            at_least("hardware.memory_gib", self.memory_gib, 0.01)
        within("hardware.usable", self.usable, 0.1, 1.0)
        if self.engine_devices is not None:
            require(
                1 <= self.engine_devices <= self.devices,
                f"hardware.engine_devices={self.engine_devices} is out of range: use 1 to "
                f"hardware.devices={self.devices}",
            )
