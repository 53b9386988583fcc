"""A version of the weights, as stores tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["BASE_KIND", "Removed", "WeightVersion"]

BASE_KIND = "base"


@dataclass(frozen=True, slots=True)
class WeightVersion:
    """A set of weights in a store: `path` holds safetensors files and `manifest.json`."""

    version: int
    path: Path
    parent: int | None
    step: int
    base_model: str
    kind: str
    """`adapter` (LoRA, PEFT layout), `full` (Hugging Face layout), or `base`: version 0, the base
    model itself, which has no files."""
    refused: str | None = None
    """Why it was kept without being served; None where it was served."""
    created_at: float | None = None
    """Unix seconds."""


class Removed(NamedTuple):
    """What a store keeps of a version that it no longer holds."""

    parent: int
    refused: str | None = None
    """As of a `WeightVersion`."""
