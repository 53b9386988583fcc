"""Is it as fast as it was? Exits with 1 where something takes over 20 % longer than its baseline.

    make bench-check                     # compare
    python benchmarks/check.py --write   # make the baseline anew, on purpose

Decoding, prefill and a training step on the default model, in units of a reference kernel that is
timed just before and after each (`_kernel.py`): medians of five rounds, in turn. What is too slow
is measured once more, in fifteen rounds, before it counts: another process may have been in the
way. About two minutes on two quiet CPU cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from _compare import in_turn, load
from _kernel import Kernel
from _result import RESULTS, machine
from _speed import speeds

from clawjax.config import ModelConfig
from clawjax.runtime.provenance import git_sha

BASELINE = RESULTS / "check_baseline.json"
TOLERANCE = 0.2
ROUNDS, MORE_ROUNDS = 5, 15
CONTEXT = 1024
WRITE = "python benchmarks/check.py --write"


class Comparison(NamedTuple):
    """A speed and what it was, in units of the kernel: the lower, the faster."""

    name: str
    ratio: float
    baseline: float | None
    """None where the baseline does not know of it."""

    @property
    def is_slower(self) -> bool:
        """Whether it takes longer than is tolerated; what has no baseline does not."""
        return self.baseline is not None and self.ratio > self.baseline * (1 + TOLERANCE)

    def __str__(self) -> str:
        """One line for a person."""
        line = f"{self.name:24} {self.ratio:9.3f}"
        if self.baseline is None:
            return f"{line}   not in the baseline: {WRITE}"
        change = self.ratio / self.baseline - 1
        line = f"{line}   baseline {self.baseline:9.3f}   {change:+.0%}"
        if self.is_slower:
            return f"{line}   SLOWER"
        return f"{line}   faster: {WRITE}" if change < -TOLERANCE else line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="make the baseline anew")
    if parser.parse_args().write:
        write(measure({}))
        return
    baseline = read()
    found = compare(measure(baseline), baseline)
    print(f"in units of the reference kernel, load average {load():.1f}:")
    print("\n".join(map(str, found)))
    if any(each.is_slower for each in found):
        sys.exit(1)


def measure(baseline: Mapping[str, float]) -> dict[str, float]:
    """Ratios by name; what is slower than `baseline` tolerates is measured a second time."""
    with Kernel() as kernel, speeds(ModelConfig(context_length=CONTEXT)) as contestants:
        beside = {name: partial(kernel.beside, run) for name, run in contestants.items()}
        ratios = medians(in_turn(beside, rounds=ROUNDS))
        slow = {each.name for each in compare(ratios, baseline) if each.is_slower}
        if slow:
            print(f"measured once more, in {MORE_ROUNDS} rounds: {', '.join(sorted(slow))}")
            again = {name: run for name, run in beside.items() if name in slow}
            ratios |= medians(in_turn(again, rounds=MORE_ROUNDS, warm_ups=0))
    return ratios


def medians(measured: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: median(values) for name, values in measured.items()}


def compare(ratios: Mapping[str, float], baseline: Mapping[str, float]) -> list[Comparison]:
    return [Comparison(name, ratio, baseline.get(name)) for name, ratio in ratios.items()]


def read() -> dict[str, float]:
    """The committed ratios; exits with 2 where there are none."""
    if not BASELINE.exists():
        print(f"{BASELINE} is missing: {WRITE}", file=sys.stderr)
        sys.exit(2)
    content: dict[str, Any] = json.loads(BASELINE.read_text(encoding="utf-8"))
    here, there = machine()["cpu"], content["machine"]["cpu"]
    if here != there:
        print(f"the baseline is of another processor: {there}, not {here}")
    return content["ratios"]


def write(ratios: Mapping[str, float]) -> None:
    """Replace the baseline."""
    content = {
        "command": WRITE,
        "commit": git_sha(),
        "machine": machine(),
        "load": load(),
        "ratios": dict(ratios),
    }
    BASELINE.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written: {BASELINE}")


if __name__ == "__main__":
    main()
