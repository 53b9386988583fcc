"""Solutions on record: what the rules did, task by task and seed by seed.

    python -m clawjax.evals.suites.miniwob.solutions [--only TASK,TASK] [--path HTML_FOLDER]

plays the rules on every seed of the protocol and writes the actions of the solved ones to
`data/miniwob_solutions.json`. A page with the same seed is the same page, so the record is the
oracle of the suite's gates.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from clawjax.evals.harness.tasks import Action, Task
from clawjax.evals.harness.trajectory import to_json
from clawjax.evals.suites.miniwob.environment import MiniWobEnvironment
from clawjax.evals.suites.miniwob.rules import RULES
from clawjax.evals.suites.miniwob.suite import SOLUTIONS, build

__all__ = ["main", "solve"]


def solve(environment: MiniWobEnvironment, task: Task) -> list[Action] | None:
    """Play the task's rule.

    Returns:
        Its actions; None where they do not solve the task, or are more than are allowed.
    """
    first = environment.reset(task.setup(0))
    goal, _, page = first.partition("\n\n")
    actions = list(RULES[task.options["page"]](goal.removeprefix("Goal: "), page))
    for action in actions[: task.limits.turns]:
        if environment.step(action).is_done:
            break
    return actions if environment.snapshot()["raw_reward"] > 0 else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Record the solutions; those of tasks that are not played stay as they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path")
    parser.add_argument("--only", default=",".join(RULES))
    options = parser.parse_args(arguments)
    played = options.only.split(",")
    suite = build({"path": options.path, "tasks": "all"})
    suite.launch.check()
    found = {
        name: actions
        for name, actions in json.loads(SOLUTIONS.read_text(encoding="utf-8")).items()
        if name.partition(" ")[0] not in played
    }
    environment = MiniWobEnvironment(**suite.launch.options)
    try:
        for task in suite.tasks:
            if task.options["page"] in played:
                actions = solve(environment, task)
                sys.stdout.write(f"{task.task_id} {'solved' if actions else 'not solved'}\n")
                if actions is not None:
                    name = f"{task.options['page']} {task.options['seed']}"
                    found[name] = [to_json(each) for each in actions]
    finally:
        environment.close()
    order = sorted(found, key=lambda name: name.partition(" ")[0])
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(found[name])}" for name in order)
    SOLUTIONS.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
