"""`benchmarks/README.md` from the scripts' own words and the committed results. Pure."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _markdown import commit, number, table

__all__ = ["MINUTES", "render_readme", "scripts"]

Result = Mapping[str, Any]

MINUTES = {
    "ablations": 350,
    "clients": 20,
    "conformance": 3,
    "constitution": 100,
    "cut_streams": 4,
    "decode": 10,
    "demo_on_servers": 12,
    "feedback_to_served": 8,
    "foresight": 60,
    "fuzz": 8,
    "gateway": 2,
    "grpo_step": 8,
    "hacking": 75,
    "human_mix": 140,
    "injection": 3,
    "judge": 3,
    "latency_under_training": 8,
    "linking": 1,
    "memory": 2,
    "miniwob": 6,
    "next_state_judge": 1,
    "objective_parity": 1,
    "online_offline": 195,
    "overlap": 10,
    "personal": 2600,
    "personal_demo": 30,
    "prefix_reuse": 28,
    "process_labels": 25,
    "profiles": 5,
    "quick_suite": 8,
    "reliability": 25,
    "rollouts": 5,
    "scaling": 10,
    "scorer_parity": 1,
    "soak": 10,
    "startup": 4,
    "suite_gates": 10,
    "sweep": 4,
    "teacher_reads": 32,
    "train_ragged": 10,
    "train_step": 10,
    "ttft": 2,
    "weight_sync": 8,
}
"""About how long a script takes on two quiet CPU cores."""

_TOOLS = ("check", "render_results")
"""Scripts that measure nothing for these pages."""


def scripts(folder: Path) -> dict[str, str]:
    """What each benchmark in a folder asks: the first lines of its docstring, by name."""
    found = {}
    for file in sorted(folder.glob("*.py")):
        if not file.stem.startswith("_") and file.stem not in _TOOLS:
            words = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
            assert words is not None, f"{file} has no docstring"
            found[file.stem] = words.partition("\n\n")[0].replace("\n", " ")
    return found


def render_readme(asked: Mapping[str, str], results: Mapping[str, Result]) -> str:
    """The whole page.

    Args:
        asked: from `scripts`.
        results: of those that were measured, by name.
    """
    rows = [_row(name, question, results.get(name)) for name, question in asked.items()]
    head = ["benchmark", "asks", "command", "minutes", "goals", "commit"]
    return "\n\n".join([_BEFORE, table(head, rows), _AFTER])


def _row(name: str, question: str, result: Result | None) -> list[str]:
    command = f"python benchmarks/{name}.py" if result is None else result["command"]
    return [
        f"[{name}]({name}.py)",
        question.replace("|", "\\|"),
        f"`{command}`",
        str(MINUTES[name]),
        "not measured yet" if result is None else "<br>".join(map(_goal, result["goals"])),
        "" if result is None else commit(result["commit"]),
    ]


def _goal(goal: Result) -> str:
    value = number(goal["value"], ".3g", "not measured")
    measured = f"{goal['name']}: {value} ({goal['op']} {goal['target']:g} {goal['unit']})"
    return ("met: " if goal["met"] else "**not met**: ") + measured.replace("|", "\\|")


_BEFORE = """\
# Benchmarks

One script per claim. Each writes `results/NAME.json`: rows, goals with their values, command,
commit and machine. Whether a goal is met is computed, and a missed goal stays in the list. The
table is made from those files and the first lines of the scripts by
`python benchmarks/render_results.py`, which makes [docs/results.md](../docs/results.md) with its
picture, [docs/performance.md](../docs/performance.md) and
[docs/reliability.md](../docs/reliability.md) as well; tests hold them to the files."""

_AFTER = """\
Minutes are about what a script takes on two quiet CPU cores. All but `conformance` take
`--quick`, which shows that a script works and writes `results/NAME_quick.json`, which is never
committed.

- **As fast as before?** `make bench-check` compares decoding, prefill and a training step with the
  committed `results/check_baseline.json`, in units of a reference kernel rather than in seconds,
  and fails where something takes over 20 % longer; what is too slow is measured a second time, in
  more rounds, before it counts. `python benchmarks/check.py --write` makes the baseline anew.
- **In parts**: `constitution`, `human_mix`, `online_offline` and `process_labels` keep each trial
  as a file under `runs/` and go on where they stopped. With `--measure-only` they write no result,
  so that several processes can each measure a share (`--seeds 0`, `--arms`, `--personas`,
  `--shares`) of one run, e.g. `taskset -c 1 python benchmarks/constitution.py --measure-only
  --seeds 1`; the command without it gathers. Of `online_offline` only what `--offline-only`
  measures can be shared; live trials are gathered with `--from`. Cells that were measured so far
  are in `results/NAME/` (`online_offline`, `human_mix`): copy them to `runs/NAME/` to go on from
  there. A trial of other settings is refused.
- **Beside other projects**: `bash benchmarks/peers/setup.sh` makes an environment for each. A peer
  that is not installed is a gap.
- **A new one**: a docstring that begins with the question, `write_result` (`_result.py`),
  contestants in turn (`_compare.py`), pure helpers with unit tests in `tests/benchmarks/`, and
  about how many minutes it takes in `_benchmarks_page.py`.
"""
