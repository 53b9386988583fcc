"""Writes what a benchmark measured, in one shape: `benchmarks/results/<name>.json`.

A number without its machine, commit and command is not a result, so those are always there; and
whether a goal is met is computed from value and target, never stated.
"""

from __future__ import annotations

import json
import operator
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clawjax.runtime.provenance import git_sha, versions

__all__ = ["RESULTS", "Goal", "largest", "machine", "save", "smallest", "write_result"]

RESULTS = Path(__file__).parent / "results"

_COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq}


@dataclass(frozen=True, slots=True)
class Goal:
    """A measured `value` that has to stand in relation `op` (>=, <=, ==) to `target`."""

    name: str
    op: str
    target: float
    value: float | None
    """None where it was not measured."""
    unit: str

    @property
    def met(self) -> bool:
        """Whether it does; NaN and what was not measured never do."""
        return self.value is not None and bool(_COMPARE[self.op](self.value, self.target))


def largest(values: Iterable[float | None]) -> float | None:
    """The largest; None where there is none or one is missing."""
    found = list(values)
    known = [value for value in found if value is not None]
    return max(known) if known and len(known) == len(found) else None


def smallest(values: Iterable[float | None]) -> float | None:
    """The smallest; None where there is none or one is missing."""
    turned = largest(None if value is None else -value for value in values)
    return None if turned is None else -turned


def write_result(
    name: str,
    rows: Sequence[Mapping[str, object]],
    goals: Sequence[Goal],
    *,
    command: str,
    notes: Mapping[str, str] | None = None,
) -> Path:
    """Write `benchmarks/results/<name>.json` and print its goals.

    Args:
        name: of the benchmark, and of the file.
        rows: what was measured, one mapping per case.
        goals: what had to be reached.
        command: how to measure again.
        notes: definitions that the numbers need.
    """
    result = {
        "name": name,
        "command": command,
        "commit": git_sha(),
        "machine": machine(),
        "versions": versions(),
        "notes": dict(notes or {}),
        "rows": [dict(row) for row in rows],
    }
    return save(RESULTS / f"{name}.json", result, goals)


def save(path: Path, result: Mapping[str, object], goals: Sequence[Goal]) -> Path:
    """Write a result with these goals in place of its own, if any, and print them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = {**result, "goals": [asdict(goal) | {"met": goal.met} for goal in goals]}
    text = json.dumps(stated, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    for goal in goals:
        mark = "met" if goal.met else "NOT MET"
        value = "not measured" if goal.value is None else f"{goal.value:.4g} {goal.unit}"
        print(f"{goal.name}: {value} (goal {goal.op} {goal.target:g}) {mark}")
    print(f"written: {path.relative_to(RESULTS.parents[1])}")
    return path


def machine() -> dict[str, object]:
    """This one's processor and memory."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(_memory_bytes() / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _memory_bytes() -> int:
    if sys.platform == "win32":
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
