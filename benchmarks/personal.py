"""Every persona, method and seed of the personal suite: what was learnt, and what was lost.

    python benchmarks/personal.py [--quick] [--personas A,B] [--methods A,B] [--seeds 0,1]
    python benchmarks/personal.py --from DIR [DIR ...]

The first runs `experiments/evaluate.py suite=personal`, which goes on where it stopped; the second
gathers trials of one or several such runs and measures nothing. `--quick` is the tiny random
model: it shows that the script works, not that anything is learnt. A trial that is missing is a
gap in the rows and never a number.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _result import Goal, largest, smallest, write_result

from clawjax.config import METHODS
from clawjax.errors import ConfigError
from clawjax.evals.personal_summary import (
    LEAST_SHARED,
    LEAST_VARIETY,
    MOST_EMPTY,
    method_rows,
    persona_rows,
    trial_rows,
)
from clawjax.evals.trials import read_trials

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path(os.environ.get("CLAWJAX_RUNS", ROOT / "runs"))

GAIN = 0.5
"""Of the style score: one more reply in two meets the wish, which no user overlooks."""
SHARE_OF_PERSONAS = 5 / 6
MOST_KL = 0.5
"""Nats per token on neutral prompts: with more, replies to other people change visibly as well."""
MOST_NLL_INCREASE = 0.3
"""Nats per token of a fixed text: a perplexity 1.35 times that of the base model."""
MOST_ACCURACY_LOST = 0.10
"""Of 65 closed questions: about one standard error of the difference of two such shares."""
LEAST_SEEDS = 3
JUDGED = "combined"
"""The method that the goals are about."""

TINY = ("suite=tiny", "model=tiny", "engine=tiny", "learner=tiny", "user.max_tokens=16")
NOTES = {
    "kind": "trial: one persona, method and seed; persona: means over the seeds of a persona and "
    "method; method: means over personas of means over seeds",
    "style_score": "mean programmatic score of sampled replies to held-out prompts, in [0, 1]",
    "ci": "95 % bootstrap interval over replies; of a persona crossed: its seeds are drawn, and "
    "the prompts, which all seeds answer; of one seed over its replies alone",
    "gain": "style score less that of the base of the same persona and seed",
    "gain_ci": "95 % nested bootstrap interval: personas are drawn, then the seeds of each; null "
    "of a single trial",
    "lead_ci": "Student's t over personas, Bonferroni-corrected for all methods; also over_next_ci",
    "lead": "mean gain of `against` less that of the method, where both were measured: `shared` "
    "personas",
    "is_placed": f"at least {LEAST_SHARED} personas are shared; rows are in the order of the lead, "
    "those that are not placed come last",
    "over_next": "mean gain less that of the method placed next, where both were measured",
    "short_share": "replies of under three words",
    "identical_share": "replies that equal another one word for word",
    "distinct2": "distinct word pairs over all word pairs",
    "is_degenerate": f"short or identical share above {MOST_EMPTY}, or distinct2 below "
    f"{LEAST_VARIETY} of the base's",
    "kl_per_token": "exact KL to the base on replies to neutral prompts, nats",
    "nll_per_token": "of a fixed text, nats",
    "accuracy": "closed questions answered right, greedily",
    "sessions_to_stable": "sessions until the first reply met the wish three times in a row; null "
    "where it never did",
    "sessions_by_chance": "sessions that this would take on average, were each first reply to meet "
    "the wish with the base's held-out share p of the same persona and seed: (1 - p^3) / ((1 - p) "
    "p^3); null where p is 0 or unknown",
    "style_by_round": "mean style of the live replies of each round; turns_by_round: at its end",
    "judge_agreement": "share of the scored reactions judged as the user meant them; thumbs, which "
    "no judge has to read, are among them",
    "lost": "replies that the user had and the turn log does not hold",
}


def main() -> None:
    """Run or gather, sum up, write."""
    options = parsed()
    folders = options.folders or [run(options)]
    results = [trial for trial in read_trials(folders) if is_chosen(trial, options)]
    if not results:
        msg = "no trial is of the chosen personas, methods and seeds: choose others"
        raise ConfigError(msg)
    rows = [
        {"kind": kind} | row
        for kind, rows_of in (
            ("trial", trial_rows),
            ("persona", persona_rows),
            ("method", method_rows),
        )
        for row in rows_of(results)
    ]
    write_result(
        options.result or ("personal_quick" if options.quick else "personal"),
        rows,
        goals(rows, methods=options.methods or METHODS),
        command=command(options),
        notes=NOTES,
    )


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--run-name", help="of the run; default: that of the suite")
    parser.add_argument("--result", help="name of the file; default: personal")
    for choice in ("personas", "methods", "seeds"):
        parser.add_argument(f"--{choice}", type=lambda text: text.split(","), default=[])
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
        help="of the configuration; with --from, what the runs were made with",
    )  # fmt: skip
    parser.add_argument("--from", dest="folders", nargs="+", type=Path, default=[], metavar="DIR")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> Path:
    """Measure what is missing; the run's folder."""
    name = options.run_name or ("tiny" if options.quick else "personal")
    chosen = [
        f"suite.{choice}=[{','.join(map(str, values))}]"
        for choice in ("personas", "methods", "seeds")
        if (values := getattr(options, choice))
    ]
    suite = TINY if options.quick else ("suite=personal",)
    subprocess.run(
        [
            sys.executable,
            str(ROOT / "experiments" / "evaluate.py"),
            *suite,
            f"run.name={name}",
            *chosen,
            *options.overrides,
        ],
        check=True,
        cwd=ROOT,
    )
    return RUNS / name


def is_chosen(trial: Mapping[str, Any], options: argparse.Namespace) -> bool:
    """Whether the choices, where there are any, name it."""
    return all(
        not values or str(trial[field]) in values
        for field, values in (
            ("persona", [Path(persona).stem for persona in options.personas]),
            ("method", options.methods),
            ("seed", options.seeds),
        )
    )


def command(options: argparse.Namespace) -> str:
    """How to measure again; where runs were gathered, in one run."""
    chosen = [
        f"--{choice} {','.join(values)}"
        for choice in ("personas", "methods", "seeds")
        if (values := getattr(options, choice))
    ]
    quick = ["--quick"] if options.quick else []
    overrides = [f"--set {override}" for override in options.overrides]
    result = [f"--result {options.result}"] if options.result else []
    return " ".join(["python benchmarks/personal.py", *quick, *chosen, *overrides, *result])


def goals(rows: Sequence[Mapping[str, Any]], *, methods: Sequence[str] = METHODS) -> list[Goal]:
    """Targets of the combined method, on its worst trial, and that all `methods` are measured."""
    trials = [row for row in rows if row["kind"] == "trial"]
    judged = [row for row in trials if row["method"] == JUDGED]
    personas = dict.fromkeys(row["persona"] for row in trials)
    gains = {
        row["persona"]: row["gain"]
        for row in rows
        if row["kind"] == "persona" and row["method"] == JUDGED and row["gain"] is not None
    }

    def seeds(method: str) -> list[int]:
        gained = [r["persona"] for r in trials if r["method"] == method and r["gain"] is not None]
        return [gained.count(persona) for persona in personas]

    empty = [max(row["short_share"], row["identical_share"]) for row in judged]
    drops = [None if (change := row["accuracy_change"]) is None else 0.0 - change for row in judged]
    lost = [row["training"]["lost"] for row in trials if row["training"] is not None]

    def column(name: str) -> list[float | None]:
        return [row[name] for row in judged]

    def worst(name: str, limit: float, values: list[float | None], unit: str) -> Goal:
        return Goal(f"largest {name} of {JUDGED}", "<=", limit, largest(values), unit)

    return [
        Goal(
            f"personas on which {JUDGED} is {GAIN} or more above base, mean of seeds",
            ">=",
            math.ceil(SHARE_OF_PERSONAS * len(personas)),
            sum(gain >= GAIN for gain in gains.values()),
            f"of {len(personas)} personas",
        ),
        worst("KL to the base on neutral prompts", MOST_KL, column("kl_per_token"), "nats/token"),
        worst("NLL increase", MOST_NLL_INCREASE, column("nll_increase"), "nats/token"),
        worst("accuracy drop", MOST_ACCURACY_LOST, drops, "share"),
        worst("share of short or identical replies", MOST_EMPTY, empty, "share"),
        Goal(
            f"smallest distinct-2 of {JUDGED} relative to base",
            ">=",
            LEAST_VARIETY,
            smallest(column("distinct2_over_base")),
            "ratio",
        ),
        Goal("turns lost", "==", 0, None if None in lost or not lost else sum(lost), "turns"),
        Goal("seeds", ">=", LEAST_SEEDS, smallest(seeds(JUDGED)), "fewest of a persona"),
        Goal(
            f"methods measured on every persona with {LEAST_SEEDS} seeds",
            "==",
            len(methods),
            sum(min(seeds(method), default=0) >= LEAST_SEEDS for method in methods),
            f"of {len(methods)} methods",
        ),
    ]


if __name__ == "__main__":
    main()
