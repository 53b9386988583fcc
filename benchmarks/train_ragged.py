"""How much does packing save on turns of many lengths, beside padding and TRL's `SFTTrainer`?

    python benchmarks/train_ragged.py [--quick]

LoRA on 64 turns of 16 to 1024 tokens, in optimiser steps of 16 turns; all contestants train on
each of them once, one step after the other in turn. About ten minutes on two cores; needs the
environment `torch` (`bash benchmarks/peers/setup.sh torch`). `--quick` takes 4 short turns, in
steps of 2 and short rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from _compare import in_turn, load, ratios
from _peer import Peer, PeerError
from _result import Goal, largest, smallest, write_result
from _training import (
    LEARNING_RATE,
    Contestant,
    Turn,
    optimiser_settings,
    ragged_lengths,
    ragged_turns,
    text_ids,
)

from clawjax.config import LearnerConfig

TURNS = 64
MEDIAN, SIGMA, LOW, HIGH, SEED = 128, 0.8, 16, 1024, 0
TEXT_TOKENS = 1900
QUICK_LENGTHS = (16, 90, 60, 30)
QUICK_LEARNER = {
    "batch_turns": 2,
    "min_turns": 1,
    "max_tokens": 128,
    "length_buckets": [64, 128],
    "micro_batch_tokens": 128,
}
METHOD = "lora"
TOLERANCE = 1e-3
PACKED, PADDED = "ours, packed", "ours, padded"
TRL, TRL_PACKED, TRL_SHIPPED = "TRL", "TRL, packed", "TRL, as shipped"
LIKE_OURS = {"bf16": False, "gradient_checkpointing": False}
TRL_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    TRL: LIKE_OURS,
    TRL_PACKED: {**LIKE_OURS, "packing": True},
    TRL_SHIPPED: {},
}
FP32 = (PADDED, TRL, TRL_PACKED)
NOTES = {
    "turns": f"log-normal lengths, median {MEDIAN} and sigma {SIGMA} in the logarithm, clipped to "
    f"{LOW}-{HIGH} tokens; the first half of each is its prompt; seed {SEED}",
    "useful_tokens_per_s": "prompt and response tokens of all turns by the seconds of all steps; "
    "padding does not count, and warming up neither",
    "ratio": "of ours, packed, to the contestant, over the steps of 16 turns: median and range; "
    "goals are on the median",
    PACKED: f"the shipped learner: rows of {LearnerConfig().length_buckets} tokens that turns "
    f"share, micro-batches of {LearnerConfig().micro_batch_tokens} tokens",
    PADDED: "is_packed=false: each turn in a row of its own, padded to the smallest of the same "
    "buckets",
    TRL: "SFTTrainer, fp32, no gradient checkpointing; two batches of 8 turns, each padded to its "
    "longest, to a step",
    TRL_PACKED: 'the same with packing=True (strategy "bfd", blocks of 1024 tokens): without '
    "FlashAttention the flattened batch goes through torch's attention under a mask",
    TRL_SHIPPED: "the same with SFTConfig's defaults: bf16 autocast and gradient checkpointing; "
    "shown beside, no goal",
    "nll_difference": "largest difference of a step's mean loss to ours, in nats per token: that "
    "the same tokens were trained, each seeing its own turn alone",
    "learning rate": f"{LEARNING_RATE:g}, so that all steps are on the same policy",
}


class Trained(NamedTuple):
    """One step of one contestant."""

    tokens: int
    seconds: float
    nll: float
    computed_tokens: float | None


Train = Callable[[Sequence[Turn]], Trained]
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    turns = quick_turns() if options.quick else all_turns()
    settings = QUICK_LEARNER if options.quick else {}
    learner = LearnerConfig(method=METHOD, **settings)
    steps = [
        turns[at : at + learner.batch_turns] for at in range(0, len(turns), learner.batch_turns)
    ]
    with ExitStack() as stack:
        contestants = ours(stack, settings)
        failure = None
        try:
            contestants |= trl(stack)
        except PeerError as error:
            failure = str(error)
        rows = measure(contestants, steps, warm_ups=one_per_bucket(turns, learner.length_buckets))
    rows += [
        {"contestant": name, "ratio": None, "not_measured": failure}
        for name in TRL_OPTIONS
        if failure is not None
    ]
    print_table(rows)
    write_result(
        "train_ragged_quick" if options.quick else "train_ragged",
        rows,
        goals(rows),
        command="python benchmarks/train_ragged.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def all_turns() -> list[Turn]:
    lengths = ragged_lengths(TURNS, median=MEDIAN, sigma=SIGMA, low=LOW, high=HIGH, seed=SEED)
    return ragged_turns(text_ids(TEXT_TOKENS), lengths, seed=SEED)


def quick_turns() -> list[Turn]:
    return ragged_turns(text_ids(TEXT_TOKENS), QUICK_LENGTHS, seed=SEED)


def one_per_bucket(turns: Sequence[Turn], buckets: Sequence[int]) -> list[list[Turn]]:
    """Steps that have ours compile for every length of row that `turns` can need."""
    longest = max(map(size_of, turns))
    lower, found = 0, []
    for bucket in buckets:
        if lower < longest:
            found.append([max((t for t in turns if size_of(t) <= bucket), key=size_of)])
        lower = bucket
    return found


def size_of(turn: Turn) -> int:
    return len(turn[0]) + len(turn[1])


def ours(stack: ExitStack, learner: Mapping[str, Any]) -> dict[str, Train]:
    """Both of ours, a process each."""
    found: dict[str, Train] = {}
    for name, is_packed in ((PACKED, True), (PADDED, False)):
        peer = stack.enter_context(Peer("clawjax_train", None))
        settings = {"learning_rate": LEARNING_RATE, "is_packed": is_packed, **learner}
        peer.call("load", method=METHOD, learner=settings)
        found[name] = our_training(peer)
    return found


def our_training(peer: Contestant) -> Train:
    def train(turns: Sequence[Turn]) -> Trained:
        nll = peer.call("prepare", turns=turns)["nll"]
        done = peer.call("train")
        return Trained(count(turns), done["seconds"], nll, done["computed_tokens"])

    return train


def trl(stack: ExitStack) -> dict[str, Train]:
    """All of TRL's in one process.

    Raises:
        PeerError: it cannot be started.
    """
    peer = stack.enter_context(Peer("trl_sft", "torch"))
    peer.call("load", method=METHOD, settings=optimiser_settings())
    return {name: trl_training(peer, options) for name, options in TRL_OPTIONS.items()}


def trl_training(peer: Contestant, options: Mapping[str, Any]) -> Train:
    def train(turns: Sequence[Turn]) -> Trained:
        done = peer.call("train", turns=turns, options=options)
        return Trained(count(turns), done["seconds"], done["nll"], None)

    return train


def count(turns: Sequence[Turn]) -> int:
    return sum(map(size_of, turns))


def measure(
    contestants: Mapping[str, Train],
    steps: Sequence[Sequence[Turn]],
    *,
    warm_ups: Sequence[Sequence[Turn]],
) -> list[Row]:
    """A row per contestant; every contestant trains on every step once."""
    trained: dict[str, list[Trained]] = {name: [] for name in contestants}

    def contest(name: str) -> Callable[[], float]:
        for turns in warm_ups:
            contestants[name](turns)
        remaining = iter(steps)

        def step() -> float:
            trained[name].append(contestants[name](next(remaining)))
            return trained[name][-1].tokens / trained[name][-1].seconds

        return step

    speeds = in_turn({name: contest(name) for name in contestants}, rounds=len(steps), warm_ups=0)
    return [
        {
            "contestant": name,
            **ratios(speeds[PACKED], speeds[name]).as_row("ratio"),
            **summed(trained[name], trained[PACKED]),
        }
        for name in contestants
    ]


def summed(trained: Sequence[Trained], ours: Sequence[Trained]) -> Row:
    """What a contestant did in all its steps."""
    tokens, seconds = sum(t.tokens for t in trained), sum(t.seconds for t in trained)
    computed = [t.computed_tokens for t in trained if t.computed_tokens is not None]
    return {
        "useful_tokens": tokens,
        "seconds": seconds,
        "useful_tokens_per_s": tokens / seconds,
        "computed_tokens": sum(computed) if computed else None,
        "nll_difference": max(abs(t.nll - o.nll) for t, o in zip(trained, ours, strict=True)),
        "load": load(),
    }


def goals(rows: Sequence[Row]) -> list[Goal]:
    by_name = {row["contestant"]: row for row in rows}
    theirs = [row["ratio"] for name, row in by_name.items() if name.startswith(TRL)]
    return [
        Goal("speed, packed against padded", ">=", 2.0, by_name[PADDED]["ratio"], "x"),
        Goal("speed, packed against TRL at its best", ">=", 2.5, smallest(theirs), "x"),
        Goal(
            "largest difference of a loss in fp32",
            "<=",
            TOLERANCE,
            largest(by_name[name].get("nll_difference") for name in FP32),
            "nats/token",
        ),
    ]


def print_table(rows: Sequence[Row]) -> None:
    print(
        f"\n{'contestant':18}{'useful tok/s':>13}{'computed':>10}  ratio, range    loss differs by"
    )
    for row in rows:
        if row["ratio"] is None:
            print(f"{row['contestant']:18} not measured: {row['not_measured']}")
            continue
        computed = "" if row["computed_tokens"] is None else f"{row['computed_tokens']:.0f}"
        print(
            f"{row['contestant']:18}{row['useful_tokens_per_s']:13.0f}{computed:>10}  "
            f"{row['ratio']:.2f} {row['ratio_low']:.2f}-{row['ratio_high']:.2f}  "
            f"{row['nll_difference']:.1e}"
        )


if __name__ == "__main__":
    main()
