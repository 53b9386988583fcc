"""What TRL's trainers are told, and the time of their optimiser steps."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback

__all__ = ["Stopwatch", "arguments"]


class Stopwatch(TrainerCallback):
    """Seconds of each optimiser step: accumulation, gradient clipping and the update."""

    def __init__(self) -> None:
        """Nothing has been timed yet."""
        self.steps: list[float] = []
        self._started = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop it."""
        self.steps.append(time.perf_counter() - self._started)


def arguments(settings: dict[str, Any], output_dir: str) -> dict[str, Any]:
    """The optimiser that all contestants have, on the CPU, and nothing written or reported."""
    return {
        "output_dir": output_dir,
        "use_cpu": True,
        "learning_rate": settings["learning_rate"],
        "lr_scheduler_type": "constant",
        "adam_beta1": settings["beta1"],
        "adam_beta2": settings["beta2"],
        "adam_epsilon": settings["adam_eps"],
        "weight_decay": settings["weight_decay"],
        "max_grad_norm": settings["max_grad_norm"],
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
