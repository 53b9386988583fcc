"""What writing a checkpoint leaves in the memory of the learner."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from _config import composed

from clawjax.learner.checkpoint import Checkpoints, Progress
from clawjax.learner.step import TrainStep
from clawjax.models.load import load_model

__all__ = ["objects_per_checkpoint"]

_WARM_UP, _SAVES = 10, 40


def objects_per_checkpoint(folder: Path, *overrides: str) -> float:
    """Blocks of Python's memory that a saved checkpoint leaves behind, the mean of 40."""
    config = composed(folder, *overrides)
    step = TrainStep(
        load_model(config.model),
        objective=config.objective,
        learner=config.learner,
        failed_dir=folder / "failed_batches",
    )
    state, checkpoints = step.init(0), Checkpoints(folder / "checkpoints", keep=2, identity={})

    def save(first: int, count: int) -> int:
        for number in range(first, first + count):
            checkpoints.save(state._replace(step=state.step + number), Progress())
        gc.collect()
        return sys.getallocatedblocks()

    before = save(1, _WARM_UP)
    after = save(1 + _WARM_UP, _SAVES)
    checkpoints.close()
    return (after - before) / _SAVES
