"""Knobs of how new weights get to servers in other processes."""

from __future__ import annotations

from dataclasses import dataclass

from clawjax.config.checks import at_least, require

__all__ = ["DeliveryConfig"]


@dataclass
class DeliveryConfig:
    """How servers in other processes get new weights."""

    transport: str = "auto"
    """`disk` (a Hugging Face directory that the server loads), `adapter` (LoRA adapters beside
    the base model, no pause), or `auto`: adapters where the server takes them, else the disk."""
    pause: str = "auto"
    """What happens to running requests while weights are loaded: `retract` (their cache is
    computed anew from the new weights), `in_place` (it is kept), `abort` (they come back at once,
    for the client to continue), or `auto`: the first of these that the server knows."""
    keep: int = 2
    """Merged directories that stay on the disk; two, so that a server that cannot load the newest
    finds what it had."""
    load_timeout_s: float = 600.0
    """How long a server may take to load weights."""
    control_timeout_s: float = 30.0
    """How long it may take to answer anything else."""
    retry_s: float = 0.5
    """Between attempts to continue a server that did not answer."""
    max_pause_s: float = 630.0
    """It is continued after so long, whatever the loading has come to."""
    probe_tolerance: float = 0.05
    """How far a log-prob of the probe may be from the expected one, in nats: kernels and number
    types differ from server to server."""

    def __post_init__(self) -> None:
        """Reject what cannot be done."""
        require(
            self.transport in ("auto", "disk", "adapter"),
            f"engine.sglang.delivery.transport={self.transport!r} is unknown: "
            "use auto, disk or adapter",
        )
        require(
            self.pause in ("auto", "retract", "in_place", "abort"),
            f"engine.sglang.delivery.pause={self.pause!r} is unknown: "
            "use auto, retract, in_place or abort",
        )
        at_least("engine.sglang.delivery.keep", self.keep, 1)
        at_least("engine.sglang.delivery.load_timeout_s", self.load_timeout_s, 0.1)
        at_least("engine.sglang.delivery.control_timeout_s", self.control_timeout_s, 0.1)
        at_least("engine.sglang.delivery.retry_s", self.retry_s, 0.0)
        at_least("engine.sglang.delivery.max_pause_s", self.max_pause_s, 0.1)
        at_least("engine.sglang.delivery.probe_tolerance", self.probe_tolerance, 0.0)
