"""Which settings matter: sweeps of one knob at a time on the personal suite.

`python benchmarks/ablations.py [--quick] [--only NAME ...] [--reuse]` runs each sweep of `SWEEPS`
as a Hydra multirun of `experiments/evaluate.py` and writes every trial as a row. `--quick` runs
the tiny random model: it shows that the script works. `--reuse` goes on where it was stopped, trial
by trial; with `--only` several processes measure a sweep each. A trial takes about twelve minutes
on one CPU core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from _result import Goal, write_result
from _trials import begun_anew

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path(os.environ.get("CLAWJAX_RUNS", ROOT / "runs"))
PERSONA = "brief"


class Sweep(NamedTuple):
    """One knob (or two, crossed) and what stays as it is meanwhile."""

    knobs: tuple[str, ...]
    """Hydra overrides with several values each."""
    fixed: tuple[str, ...] = ()


SWEEPS = {
    "staleness": Sweep(
        ("suite.staleness=0,4,16", "objective.off_policy.preset=none,tis,decoupled"),
        (
            "suite.methods=[binary_rl]",
            "suite.updates=24",
            "suite.turns_per_update=4",
            "learner.learning_rate=5e-4",
            "learner.mini_batch_turns=2",
        ),
    ),
    "baseline": Sweep(
        ("objective.baseline=none,ema,leave_one_out,whiten",), ("suite.methods=[binary_rl]",)
    ),
    "hint_choice": Sweep(
        ("objective.opd.hint_choice=overlap,longest,first",), ("suite.methods=[opd]",)
    ),
    "lora_rank": Sweep(("learner.lora.rank=2,16,64",), ("suite.methods=[binary_rl]",)),
}
"""The rank's sweep leaves alpha alone, so that the scale alpha / rank falls as the rank rises, as
it does for whoever changes the rank only."""

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
    is_part = set(options.only) != set(SWEEPS)
    rows = []
    for name in options.only:
        folder = RUNS / f"{prefix}_{name}"
        if not options.reuse:
            begun_anew(folder)
        run(name, folder.name, is_quick=options.quick)
        rows += collect(name, folder)
    write_result(
        "ablations_quick" if options.quick or is_part else "ablations",
        rows=rows,
        goals=goals(rows, options.only),
        command="python benchmarks/ablations.py"
        + (" --quick" if options.quick else "")
        + (f" --only {' '.join(options.only)}" if is_part else ""),
        notes={"style_score": f"held-out share of replies that meet the wish of {PERSONA!r}"},
    )


def run(name: str, folder: str, *, is_quick: bool) -> None:
    """One multirun; each combination of values is a job with a folder of its own."""
    sweep, size = SWEEPS[name], _TINY if is_quick else ("suite=personal",)
    fixed = [f"suite.personas=[{PERSONA}]", "suite.seeds=[0]", f"run.name={folder}"]
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
    """A trial's result."""
    return json.loads(file.read_text())


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


def goals(rows: list[dict[str, Any]], names: list[str]) -> list[Goal]:
    """Every combination was measured, and no turn was lost for being stale."""
    wanted = sum(combinations(SWEEPS[name]) for name in names)
    stale = sum(each["dropped"].get("stale", 0) for each in rows)
    return [
        Goal("combinations measured", "==", wanted, len(rows), "trials"),
        Goal("turns dropped for their age", "==", 0, stale, "turns"),
    ]


def combinations(sweep: Sweep) -> int:
    """Jobs of a multirun."""
    count = 1
    for knob in sweep.knobs:
        count *= len(knob.partition("=")[2].split(","))
    return count


if __name__ == "__main__":
    main()
