"""Can a suite's scores be trusted: does its oracle solve all of it, and cheating none of it?

    python benchmarks/suite_gates.py [--quick] [--suites gaia,tau]

Plays every suite of `clawjax.evals.suites` with agents whose score is known beforehand: the oracle
(1), one that gives up, one that acts at random (about 0), and each of the suite's exploits (0). A
suite whose data is not on this machine is a gap. `--quick` plays four tasks of each.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _result import Goal, smallest, write_result

from clawjax.errors import ConfigError
from clawjax.evals.gates import Gate, gates
from clawjax.evals.harness.sandbox import sandbox_problem
from clawjax.evals.suites import SUITES, build_suite

_QUICK = 4


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--suites", default=",".join(SUITES))
    options = parser.parse_args(arguments)
    is_part = set(options.suites.split(",")) != set(SUITES)
    found, gaps = asyncio.run(_measure(options.suites.split(","), options.quick))
    write_result(
        "suite_gates_quick" if options.quick or is_part else "suite_gates",
        [*map(row, found), *gaps],
        goals(found),
        command="python benchmarks/suite_gates.py"
        + (" --quick" if options.quick else "")
        + (f" --suites {options.suites}" if is_part else ""),
        notes={
            "score": "mean over the tasks played; not measured where an episode is unscored",
            "sandbox": sandbox_problem() or "Linux namespaces",
        },
    )


def row(gate: Gate) -> dict[str, Any]:
    """One gate as a row of the result."""
    return {**gate._asdict(), "holds": gate.holds}


def goals(found: Sequence[Gate]) -> list[Goal]:
    """One for the oracles, one for everybody else."""
    worst = smallest(gate.score for gate in found if gate.agent == "oracle")
    others = [gate for gate in found if gate.agent != "oracle"]
    closed = float(sum(not gate.holds for gate in others)) if others else None
    return [
        Goal("oracle, worst suite", ">=", 1.0, worst, "score"),
        Goal("gates of doing nothing, chance and cheating that do not hold", "==", 0, closed, ""),
    ]


async def _measure(names: Sequence[str], is_quick: bool) -> tuple[list[Gate], list[dict[str, Any]]]:
    found: list[Gate] = []
    gaps: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="clawjax-gates-") as folder:
        for name in names:
            try:
                suite = build_suite(name)
            except ConfigError as missing:
                gaps.append({"suite": name, "gap": str(missing)})
                continue
            async for gate in gates(suite, Path(folder), limit=_QUICK if is_quick else None):
                print(f"{gate.suite} {gate.agent}: {gate.score} of {gate.episodes}")
                found.append(gate)
    return found, gaps


if __name__ == "__main__":
    main()
