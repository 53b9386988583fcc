"""How long does a GRPO step take, generation and training, beside TRL and tunix?

    python benchmarks/grpo_step.py [--quick]

2 prompts, 4 replies of 64 tokens to each, fp32, all weights or LoRA, ours against each peer in
turn; every contestant in a process of its own. About eight minutes on two cores; needs the
environments `torch` and `tunix` (`bash benchmarks/peers/setup.sh torch tunix`). `--quick` samples
8 tokens and takes one round.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

from _compare import in_turn, load, ratios, spread
from _peer import Peer, PeerError
from _result import Goal, write_result
from _training import LEARNING_RATE, Contestant, memory_row, optimiser_settings

from clawjax.evals.material import neutral_prompts

PROMPTS, GROUP, TOKENS, ROUNDS = 2, 4, 64, 4
QUICK_TOKENS, QUICK_ROUNDS = 8, 1
METHODS = ("full", "lora")
SAMPLED = ("prompt_tokens", "completion_tokens")
PARTS = ("generate_s", "train_s", "hand_over_s")
NOTES = {
    "step": f"{PROMPTS} prompts, {GROUP} replies each, of {TOKENS} tokens whatever they say "
    "(temperature 1), rewarded by the share of e among their letters, and one optimiser step",
    "ours": "the embedded engine, grpo credit, TrainStep (clipped, kl_coef 0), then the weights "
    "published to a directory (checksummed) and swapped in: the same parts as in a run, one after "
    "the other; seconds of each in generate_s, train_s, hand_over_s",
    "TRL": "GRPOTrainer: beta 0 and all else by default, but fp32 and no gradient checkpointing; "
    "trains the weights it samples from",
    "tunix": "GRPOLearner with its vanilla sampler: beta 0, prompts padded to the next power of "
    "two; trains the weights it samples from",
    "seconds": "of a step, median and range over rounds, after one step that is not counted",
    "ratio": "theirs to ours within a round; goals are on its median",
    "peak_gib": "most resident memory of the contestant's process",
    "learning rate": f"{LEARNING_RATE:g}, so that all steps are on the same policy",
}


class Rival(NamedTuple):
    """Somebody to be compared with."""

    name: str
    worker: str
    environment: str
    goal: float
    """Of the ratio."""


RIVALS = (
    Rival("TRL", "trl_grpo", "torch", 2.0),
    Rival("tunix", "tunix_grpo", "tunix", 1.5),
)
Row = dict[str, Any]


class Size(NamedTuple):
    """How much there is to do."""

    tokens: int
    rounds: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    size = Size(QUICK_TOKENS, QUICK_ROUNDS) if options.quick else Size(TOKENS, ROUNDS)
    rows = [row for method in METHODS for row in method_rows(method, size)]
    print_table(rows)
    write_result(
        "grpo_step_quick" if options.quick else "grpo_step",
        rows,
        goals(rows),
        command="python benchmarks/grpo_step.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def method_rows(method: str, size: Size) -> list[Row]:
    """Ours against each rival at one method; ours stays, so that it is compiled once."""
    with Peer("clawjax_grpo", None) as ours:
        settings = {"learning_rate": LEARNING_RATE}
        ours.call("load", method=method, learner=settings, slots=PROMPTS * GROUP)
        return [rival_row(rival, method, ours, size) for rival in RIVALS]


def rival_row(rival: Rival, method: str, ours: Contestant, size: Size) -> Row:
    """One that says why where the rival cannot be measured."""
    who = {"method": method, "rival": rival.name}
    print(f"{method}: {rival.name}", flush=True)
    try:
        with Peer(rival.worker, rival.environment) as theirs:
            told = theirs.call("load", method=method, settings=optimiser_settings())
            return {**who, **told, **duel(ours, theirs, size), **memory_row(ours, theirs)}
    except PeerError as error:
        ours.call("peak")  # raises where it was ours that failed
        return {**who, "ratio": None, "not_measured": str(error)}


def duel(ours: Contestant, theirs: Contestant, size: Size) -> Row:
    """Steps in turn: columns of a row."""
    contestants = {"ours": ours, "theirs": theirs}
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    prompts = list(neutral_prompts()[:PROMPTS])

    def step(name: str) -> float:
        answer = contestants[name].call("step", prompts=prompts, group=GROUP, tokens=size.tokens)
        answers[name].append(answer)
        return answer["seconds"]

    seconds = in_turn(
        {name: lambda name=name: step(name) for name in contestants}, rounds=size.rounds
    )
    row: Row = {"load": load()}
    for name, known in answers.items():
        counted = known[-size.rounds :]
        row |= spread(seconds[name]).as_row(f"{name}_s")
        row |= {
            f"{name}_{part}": spread([answer[part] for answer in counted]).median
            for part in PARTS
            if part in counted[0]
        }
        row |= {f"{name}_{what}": counted[0][what] for what in SAMPLED}
    return row | ratios(seconds["theirs"], seconds["ours"]).as_row("ratio")


def goals(rows: Sequence[Row]) -> list[Goal]:
    by_name = {(row["method"], row["rival"]): row for row in rows}
    is_whole = all(row["ratio"] is not None for row in rows)
    uneven = sum(is_uneven(row) for row in rows) if is_whole else None
    return [
        *(
            Goal(
                f"speed, {method}, against {rival.name}",
                ">=",
                rival.goal,
                by_name[method, rival.name]["ratio"],
                "x",
            )
            for method in METHODS
            for rival in RIVALS
        ),
        Goal("pairs that read or sampled unequal numbers of tokens", "==", 0, uneven, "pairs"),
    ]


def is_uneven(row: Row) -> bool:
    """Whether the contestants did not have the same to do."""
    return row["ratio"] is not None and any(
        row[f"ours_{what}"] != row[f"theirs_{what}"] for what in SAMPLED
    )


def print_table(rows: Sequence[Row]) -> None:
    print(
        f"\n{'method':7}{'rival':7}{'ours':>7}{'theirs':>8}  ratio, range   generation, ours/theirs"
    )
    for row in rows:
        start = f"{row['method']:7}{row['rival']:7}"
        if row["ratio"] is None:
            print(f"{start}not measured: {row['not_measured']}")
            continue
        print(
            f"{start}{row['ours_s']:6.1f}s{row['theirs_s']:7.1f}s  "
            f"{row['ratio']:.2f} {row['ratio_low']:.2f}-{row['ratio_high']:.2f}  "
            f"{row['ours_generate_s']:.1f}s/{row['theirs_generate_s']:.1f}s"
        )


if __name__ == "__main__":
    main()
