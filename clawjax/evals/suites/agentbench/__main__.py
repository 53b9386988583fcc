"""AgentBench's report of a run: `overall.json` beside each suite's episodes, and the table's row.

    python -m clawjax.evals.suites.agentbench runs/NAME [KG=58.8 DCG=74.5 LTP=16.6]

Scores of tasks that clawjax does not play can be given, measured by AgentBench's own workers; the
overall score needs all eight.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from clawjax.errors import ClawError, ConfigError
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.suites.agentbench.overall import (
    COLUMNS,
    WEIGHT_INVERSES,
    Scored,
    main_percent,
    overall_json,
    overall_score,
)

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the reports; returns the exit code, 2 where the arguments cannot be satisfied."""
    parser = argparse.ArgumentParser(
        prog="python -m clawjax.evals.suites.agentbench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="folder with a folder for each suite")
    parser.add_argument("scores", nargs="*", help="COLUMN=PERCENT, measured elsewhere")
    options = parser.parse_args(arguments)
    try:
        percents = _given(options.scores) | _played(options.run)
    except ClawError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("".join(f"{name} {value:.1f}\n" for name, value in percents.items()))
    if set(percents) >= set(WEIGHT_INVERSES):
        sys.stdout.write(f"OA {overall_score(percents):.2f}\n")
    return 0


def _given(scores: Sequence[str]) -> dict[str, float]:
    found = {}
    for each in scores:
        name, _, percent = each.partition("=")
        try:
            found[name] = float(percent)
        except ValueError:
            found = {}
        if name not in WEIGHT_INVERSES or name not in found:
            msg = f"{each!r} is no score: write e.g. KG=58.8, of {', '.join(WEIGHT_INVERSES)}"
            raise ConfigError(msg)
    return found


def _played(run: Path) -> dict[str, float]:
    found = {}
    for suite, column in COLUMNS.items():
        store = EpisodeStore(run / suite)
        if not (store.folder / "manifest.json").exists():
            continue
        overall = overall_json(suite, _scored(store))
        store.write("overall.json", json.dumps(overall, indent=4) + "\n")
        found[column] = main_percent(suite, overall)
    if not found:
        msg = f"{run} holds no suite of AgentBench: it has folders like {', '.join(COLUMNS)}"
        raise ConfigError(msg)
    return found


def _scored(store: EpisodeStore) -> list[Scored]:
    scores = store.scores()
    return [
        Scored(each, scores[each.task_id, each.trial, each.attempt][1])
        for each in store.trajectories().values()
        if (each.task_id, each.trial, each.attempt) in scores
    ]


if __name__ == "__main__":
    sys.exit(main())
