"""Which of MiniWoB++'s tasks do the recorded solutions solve, in a real browser?

    python benchmarks/miniwob.py [--quick]

Plays every recorded solution (task by task, seed by seed of AgentLab's protocol) in headless
Chromium; success is a raw reward above 0. `--quick` plays one seed of each of six tasks, which says
nothing about how many there are.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _result import Goal, write_result

from clawjax.evals.agents.scripted import oracle_agent
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.suites import build_suite

SEEDS = 5
_QUICK_TASKS = 6

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    is_quick = parser.parse_args(arguments).quick
    rows = asyncio.run(_play(is_quick))
    write_result(
        "miniwob_quick" if is_quick else "miniwob",
        rows,
        goals(rows)[-1:] if is_quick else goals(rows),
        command="python benchmarks/miniwob.py",
        notes={
            "solved": "seeds of the protocol on which the recorded actions end with a raw reward "
            "above 0; seeds without a record are not played and not solved"
        },
    )


def goals(rows: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """Enough tasks, and a record that can be trusted."""
    everywhere = sum(row["solved"] == row["seeds"] for row in rows)
    anywhere = sum(row["solved"] > 0 for row in rows)
    failed = float(sum(row["played"] - row["solved"] for row in rows))
    return [
        Goal("tasks solved by scripted oracles", ">=", 30.0, float(anywhere), "tasks"),
        Goal("of those, on all five seeds", ">=", 20.0, float(everywhere), "tasks"),
        Goal("recorded solutions that do not solve", "==", 0.0, failed if rows else None, ""),
    ]


async def _play(is_quick: bool) -> list[Row]:
    suite = build_suite("miniwob", {"tasks": "scripted"})
    found: dict[str, Row] = {}
    chosen = suite.tasks
    if is_quick:
        first = {task.options["page"]: task.task_id for task in reversed(suite.tasks)}
        kept = sorted(first.values())[:_QUICK_TASKS]
        chosen = tuple(task for task in suite.tasks if task.task_id in kept)
    with tempfile.TemporaryDirectory(prefix="clawjax-miniwob-") as folder:
        episodes = await run(
            suite,
            oracle_agent(suite),
            EpisodeStore(Path(folder)),
            Selection(task_ids=tuple(task.task_id for task in chosen)),
            concurrency=2,
        )
    for task, trajectory, score in episodes:
        name = task.options["page"]
        row = found.setdefault(name, {"task": name, "seeds": SEEDS, "played": 0, "solved": 0})
        row["played"] += 1
        row["solved"] += score.value == 1.0
        row["steps"] = len(trajectory.steps)
    return list(found.values())


if __name__ == "__main__":
    main()
