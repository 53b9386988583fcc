"""What a plan says; see `clawjax.plan.plan` for how it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["GIB", "Part", "Plan", "Share"]

GIB = 2**30


class Part(NamedTuple):
    """Memory of one kind."""

    name: str
    size: int
    """Bytes on one device."""
    key: str
    """The setting that it follows from."""


class Share(NamedTuple):
    """What learner or engine takes of each of its devices."""

    role: str
    devices: int
    parts: tuple[Part, ...]

    @property
    def total(self) -> int:
        """Bytes on one device."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run on its devices, in bytes and tokens."""

    model: str
    parameters: int
    trained: int
    """Parameters that a step changes."""
    learner: Share
    engine: Share
    kind: str
    """Of the devices: `cpu`, `gpu` or `tpu`."""
    is_shared: bool
    """Whether a device has both; the embedded engine is on the learner's first."""
    limit: int | None
    """Bytes of a device that both may take; None where the memory was not said."""
    tokens_per_step: int
    """Of prompts and replies, at most; padding aside."""
    micro_batch: tuple[int, int]
    """Rows over all devices and their longest padded length."""
    published: int
    """Bytes written per version."""
    delivered: int
    """Bytes that every server (or the embedded engine) reads per version."""
    servers: int
    cache_tokens: int
    """Tokens whose keys and values all servers hold together."""

    def needed(self, share: Share) -> int:
        """Bytes taken of the fullest device that this share is on."""
        return self.learner.total + self.engine.total if self.is_shared else share.total
