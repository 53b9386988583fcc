"""Traces of single steps by JAX's profiler, for XProf, TensorBoard or Perfetto.

A trace holds what the host and each device did during a step, from the signals that are read to the
new weights, compilation included where it is the first of its shape.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jax

__all__ = ["Profiler"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Profiler:
    """Traces the steps that it is told of, and costs the others nothing."""

    folder: Path
    steps: Collection[int] = ()
    """By the version that each makes; from 1."""

    @contextmanager
    def step(self, number: int) -> Generator[None]:
        """Trace what is done within, where `number` is among the steps.

        Each process writes `step_NNNNNN/process_N` of its own: processes on one host would
        otherwise write the same file.
        """
        if number not in self.steps:
            yield
            return
        folder = self.folder / f"step_{number:06d}" / f"process_{jax.process_index()}"
        with jax.profiler.trace(folder), jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield
        logger.info("step %d is traced in %s", number, folder)
