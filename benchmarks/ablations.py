"""Which settings matter: sweeps of one knob at a time on the personal suite.

`python benchmarks/ablations.py [--quick] [--only NAME ...] [--reuse]` runs each sweep of `SWEEPS`
as a Hydra multirun of `experiments/evaluate.py` and writes every trial as a row. `--quick` runs
the tiny random model: it shows that the script works. `--reuse` goes on where it was stopped, trial
by trial. `--only` measures some sweeps, and keeps the rows that the committed result has of the
others. A trial takes about twelve minutes on one CPU core.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from _result import RESULTS, Goal, write_result
from _trials import begun_anew

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path(os.environ.get("CLAWJAX_RUNS", ROOT / "runs"))
PERSONA = "brief"


class Sweep(NamedTuple):
    """One knob (or two, crossed) and what stays as it is meanwhile."""

    knobs: tuple[str, ...]
    """Hydra overrides with several values each."""
    fixed: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)


_MANY_UPDATES = (
    "suite.methods=[binary_rl]",
    "suite.updates=24",
    "suite.turns_per_update=4",
    "learner.learning_rate=5e-4",
    "learner.mini_batch_turns=2",
)
FAR_BEHIND = "far_behind"
SWEEPS = {
    "staleness": Sweep(
        ("suite.staleness=0,4,16", "objective.off_policy.preset=none,tis,decoupled"),
        _MANY_UPDATES,
    ),
    FAR_BEHIND: Sweep(
        ("suite.staleness=16", "objective.off_policy.preset=none,decoupled"),
        _MANY_UPDATES,
        seeds=(1, 2),
    ),
    "baseline": Sweep(
        ("objective.baseline=none,ema,leave_one_out,whiten",), ("suite.methods=[binary_rl]",)
    ),
    "hint_choice": Sweep(
        ("objective.opd.hint_choice=overlap,longest,first",), ("suite.methods=[opd]",)
    ),
    "lora_rank": Sweep(("learner.lora.rank=2,16,64",), ("suite.methods=[binary_rl]",)),
}
"""`far_behind` has seeds that `staleness` lacks, where corrections matter most. The rank's sweep
leaves alpha alone, so that the scale alpha / rank falls as the rank rises, as it does for whoever
changes the rank only."""

_TINY = (
    "suite=tiny",
    "model=tiny",
    "engine=tiny",
    "learner=tiny",
    "user.max_tokens=16",
    "suite.updates=2",
    "suite.turns_per_update=4",
)


def main() -> None:
    """Sweep, collect, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=sorted(SWEEPS), default=list(SWEEPS))
    parser.add_argument("--reuse", action="store_true", help="keep the trials there are")
    options = parser.parse_args()
    prefix = "ablation_quick" if options.quick else "ablation"
    rows = []
    for name in options.only:
        folder = RUNS / f"{prefix}_{name}"
        if not options.reuse:
            begun_anew(folder)
        run(name, folder.name, is_quick=options.quick)
        rows += collect(name, folder)
    result = "ablations_quick" if options.quick else "ablations"
    file = RESULTS / f"{result}.json"
    rows = merged(rows, read(file)["rows"] if file.exists() else [], measured=options.only)
    write_result(
        result,
        rows=rows,
        goals=goals(rows),
        command="python benchmarks/ablations.py" + (" --quick" if options.quick else ""),
        notes={"style_score": f"held-out share of replies that meet the wish of {PERSONA!r}"},
    )


def run(name: str, folder: str, *, is_quick: bool) -> None:
    """One multirun; each combination of values is a job with a folder of its own."""
    sweep, size = SWEEPS[name], _TINY if is_quick else ("suite=personal",)
    seeds = ",".join(map(str, sweep.seeds))
    fixed = [f"suite.personas=[{PERSONA}]", f"suite.seeds=[{seeds}]", f"run.name={folder}"]
    command = [sys.executable, str(ROOT / "experiments" / "evaluate.py"), "-m"]
    subprocess.run([*command, *fixed, *sweep.fixed, *sweep.knobs, *size], check=True, cwd=ROOT)


def collect(name: str, folder: Path) -> list[dict[str, Any]]:
    """A row per trial, labelled by the values of the sweep's knobs."""
    knobs = [knob.partition("=")[0] for knob in SWEEPS[name].knobs]
    rows = []
    for job in sorted(path for path in folder.iterdir() if path.name.isdecimal()):
        overrides = yaml.safe_load((job / ".hydra" / "overrides.yaml").read_text())
        chosen = dict(each.split("=", 1) for each in overrides)
        setting = {knob: chosen[knob] for knob in knobs}
        rows += [row(name, setting, read(file)) for file in sorted(job.glob("trials/*.json"))]
    return rows


def read(file: Path) -> dict[str, Any]:
    """A trial's result, or a benchmark's."""
    return json.loads(file.read_text())


def merged(
    rows: list[dict[str, Any]], before: list[dict[str, Any]], *, measured: Collection[str]
) -> list[dict[str, Any]]:
    """Rows of all sweeps in their order: those that were `measured` now, and the others `before`.

    A sweep that there is no more has none.
    """
    every = [*rows, *(row for row in before if row["ablation"] not in measured)]
    return [row for name in SWEEPS for row in every if row["ablation"] == name]


def row(name: str, setting: dict[str, str], result: dict[str, Any]) -> dict[str, Any]:
    """What the table shows of a trial."""
    style, retention, training = result["style"], result["retention"], result["training"]
    return {
        "ablation": name,
        "setting": ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in setting.items()),
        "persona": result["persona"],
        "method": result["method"],
        "seed": result["seed"],
        "style_score": style["style_score"],
        "ci": style["ci"],
        "mean_words": style["mean_words"],
        "short_share": style["short_share"],
        "distinct2": style["distinct2"],
        "kl_per_token": retention["kl_per_token"],
        "nll_per_token": retention["nll_per_token"],
        "style_by_round": training["style_by_round"],
        "trained": training["trained"],
        "dropped": training["dropped"],
        "seconds": result["seconds"],
        "git_sha": result["git_sha"],
    }


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """Every combination was measured, no turn was lost for being stale, and corrections matter."""
    wanted = sum(combinations(sweep) * len(sweep.seeds) for sweep in SWEEPS.values())
    stale = sum(each["dropped"].get("stale", 0) for each in rows)
    return [
        Goal("combinations measured", "==", wanted, len(rows), "trials"),
        Goal("turns dropped for their age", "==", 0, stale, "turns"),
        Goal("decoupled is ahead of none, 16 behind", "==", 3, ahead(rows), "seeds"),
    ]


def ahead(rows: list[dict[str, Any]]) -> int:
    """Seeds in which `decoupled` has the higher style score, with the policy 16 versions behind."""
    scores = {(row["setting"], row["seed"]): row["style_score"] for row in rows}
    plain, corrected = (f"staleness=16, preset={preset}" for preset in ("none", "decoupled"))
    return sum(
        score > scores.get((plain, seed), score)
        for (setting, seed), score in scores.items()
        if setting == corrected
    )


def combinations(sweep: Sweep) -> int:
    """Jobs of a multirun."""
    return math.prod(len(knob.partition("=")[2].split(",")) for knob in sweep.knobs)


if __name__ == "__main__":
    main()
