"""How many labels by people does a judge need that misreads what the user wants?

    python benchmarks/human_mix.py [--quick] [--persona you] [--seeds 0,1,2]

The base model answers 24 training questions, four times each; the persona reacts in words, which
the judge reads. DPO is trained on the judge's labels alone, on the persona's true labels alone, and
on hybrids in which 1 to 50 % of the replies have the true label and the others the judge's, and is
measured on held-out prompts. A larger share includes the labels of a smaller one. `you` is the
persona whose reactions the judge misreads most often of those measured (docs/results.md). About 50
minutes; a run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from _feedback import Event, hybrid
from _offline_arms import Arms, parser, seeds_of
from _result import Goal, smallest, write_result

from clawjax.evals.personal import bootstrap_mean
from clawjax.evals.personal_summary import bootstrap_nested

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path(os.environ.get("CLAWJAX_RUNS", ROOT / "runs"))
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
LEAST_SEEDS = 3
WORTH = 0.05
"""Of the style score: one more reply in twenty meets the wish."""
NOTES = {
    "share": "of the replies whose label is the persona's own; 0: the judge alone, 1: people alone",
    "labels": "replies with a label; the judge abstains on some",
    "label_agreement": "share of the labels that say what the persona thinks",
    "pairs": "replies to the same question whose labels differ by 0.5 or more",
    "style_score": "mean programmatic score of sampled replies to held-out prompts, in [0, 1]",
    "ci": "95 % bootstrap interval over the replies of all seeds",
    "over_judge": "style score less that with the judge alone, mean over seeds; over_judge_ci: "
    "95 % bootstrap interval over seeds",
    "kl_per_token": "exact KL to the base on replies to neutral prompts, nats",
}


def main() -> None:
    """Collect, label, train, compare."""
    options = parsed()
    shares = (0.0, 0.5, 1.0) if options.quick else SHARES
    name = options.run_name or ("human_mix_tiny" if options.quick else "human_mix")
    arms = Arms(RUNS / name, is_quick=options.quick)
    cells = []
    for seed in map(int, options.seeds):
        events = arms.feedback(options.persona, seed)
        for share in shares:
            rows = hybrid(events, options.persona, share=share, seed=seed)
            cell = arms.cell(options.persona, f"human_{share:g}", seed, objective="dpo", rows=rows)
            told = {row.source: row.score for row in rows}
            cells.append(cell | {"share": share, "label_agreement": agreement(events, told)})
    rows = summed_up(cells)
    write_result(
        "human_mix_quick" if options.quick else "human_mix",
        rows,
        goals(rows),
        command=command(options),
        notes=NOTES,
    )


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    known = parser(__doc__)
    known.add_argument("--persona", default=None)
    options = known.parse_args(arguments)
    options.persona = options.persona or ("plain" if options.quick else "you")
    options.seeds = seeds_of(options)
    return options


def agreement(events: Sequence[Event], told: Mapping[str, float]) -> float | None:
    """Share of the labels, by their event's source, with the sign that the persona means."""
    right = [
        (told[source] > 0) == event.is_met
        for place, event in enumerate(events)
        if (source := f"event {place}") in told
    ]
    return fmean(right) if right else None


def summed_up(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each cell, and one for each share over its seeds."""
    rows = [{"kind": "trial"} | _trial(cell) for cell in cells]
    alone = {cell["seed"]: cell["style"]["style_score"] for cell in cells if cell["share"] == 0}
    for share in dict.fromkeys(cell["share"] for cell in cells):
        same = [cell for cell in cells if cell["share"] == share]
        scores = [score for cell in same for score in cell["style"]["scores"]]
        leads = [cell["style"]["style_score"] - alone[cell["seed"]] for cell in same]
        rows.append(
            {
                "kind": "share",
                "share": share,
                "seeds": [cell["seed"] for cell in same],
                "style_score": fmean(cell["style"]["style_score"] for cell in same),
                "ci": list(bootstrap_mean(scores)),
                "over_judge": fmean(leads),
                "over_judge_ci": list(bootstrap_nested([leads])),
                "label_agreement": _mean(cell["label_agreement"] for cell in same),
            }
        )
    return rows


def _trial(cell: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("persona", "seed", "share", "labels", "label_agreement", "version", "seconds")
    return {
        **{key: cell[key] for key in kept},
        **{key: cell["style"][key] for key in ("style_score", "ci", "n", "mean_words")},
        "kl_per_token": cell["retention"]["kl_per_token"],
        "pairs": cell["offline"].get("rows", 0),
        "git_sha": cell["git_sha"],
    }


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def goals(rows: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """True labels help, and a tenth of them goes half of the way at least."""
    shares = {row["share"]: row for row in rows if row["kind"] == "share"}
    whole = shares[1.0]["over_judge"]
    tenth = shares.get(0.1, {}).get("over_judge")
    return [
        Goal(
            "style with people alone less that with the judge alone", ">=", WORTH, whole, "score"
        ),
        Goal(
            "part of that which 10 % of their labels bring",
            ">=",
            0.5,
            None if tenth is None or whole <= 0 else tenth / whole,
            "share",
        ),
        Goal(
            "seeds", ">=", LEAST_SEEDS, smallest(len(row["seeds"]) for row in shares.values()),
            "fewest of a share",
        ),
    ]  # fmt: skip


def command(options: argparse.Namespace) -> str:
    """How to measure again."""
    quick = ["--quick"] if options.quick else []
    chosen = [f"--persona {options.persona}", f"--seeds {','.join(options.seeds)}"]
    return " ".join(["python benchmarks/human_mix.py", *quick, *chosen])


if __name__ == "__main__":
    main()
