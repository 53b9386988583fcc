"""How many labels by people does a judge need that misreads what the user wants?

    python benchmarks/human_mix.py [--quick] [--persona formal] [--seeds 0,1,2] [--shares 0,0.1,1]
    python benchmarks/human_mix.py --measure-only --seeds 0

The base model answers 24 training questions, four times each; the persona reacts in words, which
the judge reads. DPO is trained on the judge's labels alone, on the persona's true labels alone, and
on hybrids in which 1 to 50 % of the replies have the true label and the others the judge's, and is
measured on held-out prompts. A label is good or bad, whoever gives it; the judge's is left out
where it is not sure. A larger share includes the labels of a smaller one. `formal` is the persona
whose reactions the judge misreads most often of those measured (docs/results.md); how well it reads
the ones that were collected is printed first. A run takes about 140 minutes on two cores and goes
on where it stopped; `--measure-only` writes no result, so that processes can share the work;
the command without it gathers.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from _feedback import Event, hybrid, judged
from _offline_arms import Arms
from _result import Goal, smallest, write_result
from _trials import command_line, parser, seeds_of

from clawjax.evals.bootstrap import bootstrap_nested, interval_of_replies

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path(os.environ.get("CLAWJAX_RUNS", ROOT / "runs"))
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
LEAST_SEEDS = 3
WORTH = 0.05
"""Of the style score: one more reply in twenty meets the wish."""
MOST_AGREED = 0.9
"""From here on the judge misreads so little that people have hardly anything to add."""
NOTES = {
    "share": "of the replies whose label is the persona's own; 0: the judge alone, 1: people alone",
    "labels": "replies labelled good or bad; the judge says nothing, or is not sure, of some",
    "label_agreement": "share of the labels that say what the persona thinks",
    "pairs": "replies to the same question, one good and one bad",
    "style_score": "mean programmatic score of sampled replies to held-out prompts, in [0, 1]",
    "ci": "95 % crossed bootstrap interval: seeds are drawn, and the prompts, which all seeds "
    "answer; of one seed over its replies alone",
    "over_judge": "style score less that with the judge alone, mean over seeds; over_judge_ci: "
    "95 % bootstrap interval over seeds; null of one",
    "kl_per_token": "exact KL to the base on replies to neutral prompts, nats",
}


def main() -> None:
    """Collect, label, train, compare."""
    options = parsed()
    name = options.run_name or ("human_mix_tiny" if options.quick else "human_mix")
    arms = Arms(RUNS / name, is_quick=options.quick)
    cells = []
    for seed in options.seeds:
        events = arms.feedback(options.persona, seed)
        print(read_by_judge(events, options.persona), flush=True)
        for share in options.shares:
            rows = hybrid(events, options.persona, share=share, seed=seed)
            cell = arms.cell(options.persona, f"human_{share:g}", seed, objective="dpo", rows=rows)
            told = {row.source: row.score for row in rows}
            cells.append(cell | {"share": share, "label_agreement": agreement(events, told)})
    if options.measure_only:
        return
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
    known.add_argument(
        "--shares", type=lambda text: [float(share) for share in text.split(",")], default=None
    )
    options = known.parse_args(arguments)
    options.persona = options.persona or ("plain" if options.quick else "formal")
    options.seeds = seeds_of(options)
    options.shares = options.shares or [*((0.0, 0.5, 1.0) if options.quick else SHARES)]
    if not all(0 <= share <= 1 for share in options.shares):
        known.error(f"--shares {options.shares}: a share of the labels is from 0 to 1")
    return options


def read_by_judge(events: Sequence[Event], persona: str) -> str:
    """How well the judge alone reads the reactions, before anything is trained on them."""
    told = {row.source: row.score for row in judged(events, persona)}
    right = agreement(events, told)
    if right is None:
        return f"{persona}: the judge can read none of {len(events)} reactions"
    said = f"{persona}: the judge reads {len(told)} of {len(events)} reactions, {right:.0%} rightly"
    if right < MOST_AGREED:
        return said
    return f"{said}: too well for people to add much, choose another --persona"


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
        leads = [
            cell["style"]["style_score"] - alone[cell["seed"]]
            for cell in same
            if cell["seed"] in alone
        ]
        rows.append(
            {
                "kind": "share",
                "share": share,
                "seeds": [cell["seed"] for cell in same],
                "style_score": fmean(cell["style"]["style_score"] for cell in same),
                "ci": interval_of_replies([cell["style"]["scores"] for cell in same]),
                "over_judge": _mean(leads),
                "over_judge_ci": bootstrap_nested([leads]),
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
    """True labels help, and a tenth of them goes half of the way at least.

    A part of next to nothing says nothing, and is not measured.
    """
    shares = {row["share"]: row for row in rows if row["kind"] == "share"}
    whole = shares.get(1.0, {}).get("over_judge")
    tenth = shares.get(0.1, {}).get("over_judge")
    part = None if tenth is None or whole is None or whole < WORTH else tenth / whole
    return [
        Goal(
            "style with people alone less that with the judge alone", ">=", WORTH, whole, "score"
        ),
        Goal(
            "part of that which 10 % of their labels bring",
            ">=",
            0.5,
            part,
            "share",
        ),
        Goal(
            "seeds", ">=", LEAST_SEEDS, smallest(len(row["seeds"]) for row in shares.values()),
            "fewest of a share",
        ),
    ]  # fmt: skip


def command(options: argparse.Namespace) -> str:
    """How to measure again."""
    is_part = tuple(options.shares) != SHARES and not options.quick
    return command_line("human_mix", options, "persona", "seeds", *["shares"] * is_part)


if __name__ == "__main__":
    main()
