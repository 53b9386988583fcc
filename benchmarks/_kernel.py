"""A fixed amount of arithmetic that other speeds are measured in, so that they need no seconds.

An fp32 product of two matrices, which is bound by arithmetic, and one of a matrix and a vector,
which is bound by memory, by numpy in a process of its own. Each is divided into blocks for as many
threads as there are cores, and the BLAS library is kept to one thread per block: a core that is
busy with something else delays a block and not, as within BLAS, all of them. So the kernel slows
down as what it is compared with does.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean
from types import TracebackType
from typing import Self

import numpy as np
from _peer import end

__all__ = ["Kernel"]

_TIMEOUT_S = 120.0
_MEASURED_S = 0.25
_ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
_BLOCKS = 16
_SIDE = 1024
"""Of the square matrices: 2.1 GFLOP."""
_TALL = 16384
"""Rows of the matrix that is read: 64 MiB."""


class Kernel:
    """The kernel's process; use as a context manager."""

    def __enter__(self) -> Self:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=os.environ | _ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        end(self._process)

    def beside(self, measure: Callable[[], float]) -> float:
        """What `measure` returns, in seconds, in units of the kernel just before and after it."""
        before = self.seconds()
        measured = measure()
        return measured / fmean([before, self.seconds()])

    def seconds(self) -> float:
        """How long the kernel takes now, on average over a quarter of a second.

        Raises:
            TimeoutError: it does not answer within two minutes.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        if not select.select([self._process.stdout], [], [], _TIMEOUT_S)[0]:
            msg = f"the reference kernel did not answer within {_TIMEOUT_S:g} s"
            raise TimeoutError(msg)
        return float(self._process.stdout.readline())


def _serve() -> None:
    """Answer each line of standard input with the seconds of the kernel."""
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((_SIDE, _SIDE), np.float32) for _ in range(2))
    tall, vector = rng.standard_normal((_TALL, _SIDE), np.float32), right[0]
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def run() -> None:
            for rows, other in ((left, right), (tall, vector)):
                blocks = rows.reshape(_BLOCKS, -1, _SIDE)
                for _ in pool.map(np.matmul, blocks, [other] * _BLOCKS):
                    pass

        run()
        for _ in sys.stdin:
            print(_mean_seconds(run), flush=True)


def _mean_seconds(run: Callable[[], None]) -> float:
    began, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < _MEASURED_S:
        run()
        count += 1
    return spent / count


if __name__ == "__main__":
    _serve()
