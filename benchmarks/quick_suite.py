"""How does a policy do on a few tasks of every suite, and what did it do, step by step?

    python benchmarks/quick_suite.py [--quick] [OVERRIDE ...]

Runs `experiments/evaluate.py suite=quick agent=policy` with the default model, writes the table and
one page per suite with each trajectory into `docs/quick/`. Further words are overrides, e.g.
`agent.run=runs/serve`. `--quick` takes the tiny random model and leaves the docs alone. What is
held to a goal is that it runs, and how long; how good the policy is is only reported.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from _markdown import interval, number, table
from _result import Goal, largest, write_result

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "quick"
COMMAND = "python benchmarks/quick_suite.py"
SETTINGS = (
    "suite=quick",
    "agent=policy",
    "agent.max_tokens=96",
    "model.context_length=4096",
    "engine.live_buckets=[1024,4096]",
)
TINY = ("model=tiny", "engine=tiny", "learner=tiny")
_TIMEOUT_S = 3600.0
_LIMIT_S = 600.0
_LITTLE = 0.25

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args(arguments)
    overrides = [*(TINY if options.quick else ()), *SETTINGS, *options.overrides]
    with tempfile.TemporaryDirectory(prefix="clawjax-quick-") as name:
        folder = Path(name)
        seconds = _evaluate(folder, overrides)
        rows = read_rows(folder, _suites())
        pages = folder / "pages" if options.quick else PAGES
        pages.mkdir(parents=True, exist_ok=True)
        for row in rows:
            if row["is_played"]:
                page = (folder / row["suite"] / "report.html").read_text(encoding="utf-8")
                (pages / f"{row['suite']}.html").write_text(page, encoding="utf-8")
        (pages / "README.md").write_text(render(rows, overrides), encoding="utf-8")
    write_result(
        "quick_suite_quick" if options.quick else "quick_suite",
        rows,
        goals(rows, seconds),
        command=" ".join([COMMAND, *options.overrides]),
        notes={"overrides": " ".join(overrides), "seconds": f"{seconds:.0f} of the whole command"},
    )


def read_rows(folder: Path, suites: Sequence[str]) -> list[Row]:
    """One per suite, played or not, from the reports in a run's folder."""
    rows: list[Row] = []
    for suite in suites:
        path = folder / suite / "report.json"
        if not path.exists():
            rows.append({"suite": suite, "is_played": False})
            continue
        report = json.loads(path.read_text(encoding="utf-8"))
        rows.append(
            {
                "suite": suite,
                "is_played": True,
                "agent": report["agent"],
                "tasks": report["tasks"],
                "success": report["success"]["value"],
                "interval": report["success"]["ci"],
                "score": report["score"]["value"],
                "steps": report["efficiency"]["steps"],
                "format_valid": report["validity"]["format_valid"],
                "action_valid": report["validity"]["action_valid"],
                "unscored": report["unscored"] / report["episodes"],
                "outcomes": {name: n for name, n in report["outcomes"].items() if n},
            }
        )
    return rows


def goals(rows: Sequence[Mapping[str, Any]], seconds: float) -> list[Goal]:
    """That it runs, everywhere and in time."""
    played = [row for row in rows if row["is_played"]]
    unscored = largest(row["unscored"] for row in played)
    return [
        Goal("suites played, of those listed", ">=", float(len(rows)), float(len(played)), ""),
        Goal("unscored episodes, worst suite", "<=", 0.1, unscored, "share"),
        Goal("whole command", "<=", _LIMIT_S, seconds, "s"),
    ]


def render(rows: Sequence[Mapping[str, Any]], overrides: Sequence[str]) -> str:
    """The page in the docs."""
    head = ["suite", "tasks", "success (95 %)", "score", "steps", "format", "action", "ended by"]
    agents = sorted({str(row["agent"]) for row in rows if row["is_played"]})
    parts = [
        "# A few tasks of every suite",
        f"Played by `{', '.join(agents) or 'nobody'}`, a handful of tasks each, so that intervals "
        f"are wide. {_verdict(rows)}The pages show each trajectory step by step; view them from "
        "a checkout.",
        table(head, [_line(row) for row in rows]),
        f"```bash\npython experiments/evaluate.py {' '.join(overrides)}\n{COMMAND}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    known = [row["success"] for row in rows if row["is_played"] and row["success"] is not None]
    if known and max(known) < _LITTLE:
        return "It solves next to nothing: its pages show why. "
    return ""


def _line(row: Mapping[str, Any]) -> list[str]:
    if not row["is_played"]:
        return [row["suite"], "not played on this machine", *[""] * 6]
    told = f"{number(row['success'], '.2f')} ({interval(row['interval'], absent='not known')})"
    ended = ", ".join(f"{name} {n}" for name, n in row["outcomes"].items())
    return [
        f"[{row['suite']}]({row['suite']}.html)",
        str(row["tasks"]),
        told,
        number(row["score"], ".2f"),
        number(row["steps"], ".1f"),
        number(row["format_valid"], ".2f"),
        number(row["action_valid"], ".2f"),
        ended,
    ]


def _suites() -> list[str]:
    chosen = (ROOT / "conf" / "suite" / "quick.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(chosen)["suites"]


def _evaluate(folder: Path, overrides: Sequence[str]) -> float:
    began = time.monotonic()
    entry = str(ROOT / "experiments" / "evaluate.py")
    command = [sys.executable, entry, *overrides, f"hydra.run.dir={folder}"]
    subprocess.run(command, check=True, timeout=_TIMEOUT_S)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
