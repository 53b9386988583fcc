"""The main job on three seeds: does the policy learn what a simulated user wants?

`python benchmarks/personal_demo.py [--quick] [--reuse]` runs `experiment=personal_demo` once per
seed, one after the other, and sums their reports up. About ten minutes a seed on two CPU cores.
`--quick` runs one seed on the tiny random model: it shows that the script works, not that
anything is learnt. `--reuse` keeps runs that already have a report.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from _result import Goal, largest, write_result
from _trials import begun_anew

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path(os.environ.get("CLAWJAX_RUNS", ROOT / "runs"))
BATCH_TURNS = 16


def main() -> None:
    """Run, sum up, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--reuse", action="store_true")
    options = parser.parse_args()
    experiment = "tiny_demo" if options.quick else "personal_demo"
    seeds = (0,) if options.quick else (0, 1, 2)
    reports = [run(experiment, seed, is_reused=options.reuse) for seed in seeds]
    write_result(
        "personal_demo_quick" if options.quick else "personal_demo",
        rows=[row(report) for report in reports],
        goals=goals(reports),
        command="python benchmarks/personal_demo.py" + (" --quick" if options.quick else ""),
    )


def run(experiment: str, seed: int, *, is_reused: bool) -> dict[str, Any]:
    """One run's report."""
    name = f"{experiment}_seed{seed}"
    file = RUNS / name / "report.json"
    if not (is_reused and file.exists()):
        begun_anew(file.parent)
        subprocess.run(
            [
                sys.executable,
                str(ROOT / "experiments" / "run.py"),
                f"experiment={experiment}",
                f"run.name={name}",
                f"run.seed={seed}",
            ],
            check=True,
            cwd=ROOT,
        )
    return json.loads(file.read_text())


def row(report: dict[str, Any]) -> dict[str, Any]:
    """What the table shows of a run."""
    evaluated = ("style_score", "ci", "mean_words", "kl_per_token", "distinct2", "n")
    return {
        "seed": report["seed"],
        "learned": report["learned"],
        "before": {key: report["before"][key] for key in evaluated},
        "after": {key: report["after"][key] for key in evaluated},
        "policy_version": report["policy_version"],
        "turns": report["turns"],
        "requests": report["requests"],
        "non_2xx": report["non_2xx"],
        "feedback_to_served_turns": report["feedback_to_served_turns"],
        "mean_abs_logprob_diff": report["mean_abs_logprob_diff"],
        "judge": report["judge"],
        "seconds": report["seconds"],
        "peak_rss_bytes": report["peak_rss_bytes"],
        "git_sha": report["git_sha"],
    }


def goals(reports: list[dict[str, Any]]) -> list[Goal]:
    """Targets on the worst seed."""
    gains = [r["after"]["style_score"] - r["before"]["style_score"] for r in reports]
    shares = [report["before"]["style_score"] for report in reports]
    versions = [report["policy_version"] for report in reports]
    refused = sum(report["non_2xx"] for report in reports)
    wait = largest(report["feedback_to_served_turns"]["median"] for report in reports)
    mismatch = largest(report["mean_abs_logprob_diff"] for report in reports)
    minutes = largest(report["seconds"] / 60 for report in reports)
    memory = largest(report["peak_rss_bytes"] / 2**30 for report in reports)
    return [
        Goal("smallest rise of the held-out style score", ">=", 0.4, min(gains), "share"),
        Goal("most updates", "<=", 10, max(versions), "updates"),
        Goal("lowest share met by the base model", ">=", 0.15, min(shares), "share"),
        Goal("highest share met by the base model", "<=", 0.35, max(shares), "share"),
        Goal("answers other than 2xx", "==", 0, refused, "requests"),
        Goal("runs whose turns do not add up", "==", 0, unbalanced(reports), "runs"),
        Goal("median turns from feedback to effect, worst seed", "<=", BATCH_TURNS, wait, "turns"),
        Goal("mean |sampler - trainer|, worst seed", "<=", 1e-3, mismatch, "nats/token"),
        Goal("longest run", "<=", 15, minutes, "minutes"),
        Goal("peak memory of all processes, worst seed", "<=", 6, memory, "GiB"),
    ]


def unbalanced(reports: list[dict[str, Any]]) -> int:
    """Runs in which some turn is not exactly one of trained, dropped and pending."""
    books = [report["turns"] for report in reports]
    return sum(
        book["trained"] + sum(book["dropped"].values()) + book["pending"] != book["logged"]
        for book in books
    )


if __name__ == "__main__":
    main()
