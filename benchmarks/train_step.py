"""How fast is a training step, and how much memory does it take, beside torch and tunix?

    python benchmarks/train_step.py [--quick]

One optimiser step on [8, 256] tokens, all weights or LoRA, ours against each peer in turn; every
contestant in a process of its own. About ten minutes on two cores; needs the environments `torch`
and `tunix` (`bash benchmarks/peers/setup.sh torch tunix`). `--quick` takes [2, 64]
tokens and one round: it shows that everybody works and computes the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from _peer import Peer, PeerError
from _result import Goal, largest, write_result
from _training import (
    LEARNING_RATE,
    Contestant,
    Turn,
    duel,
    memory_row,
    optimiser_settings,
    text_ids,
)

DENSE, HALF = "dense", "half prompt"
METHODS = ("full", "lora")
TOLERANCE = 1e-3
NOTES = {
    "step": "ours: make_batch and TrainStep.run (binary_rl, kl_coef 0, every advantage 1, shipped "
    "buckets and micro-batches); torch: transformers forward with logits of responses only, "
    "cross-entropy, backward, gradient clipping, fused AdamW; tunix: PeftTrainer with its own loss",
    "case": "dense: 1 prompt and 255 response tokens a row; half prompt: 128 and 128",
    "tokens_per_s": "prompt and response tokens by the seconds of a step, median and range over "
    "rounds, after one step that is not counted",
    "ratio": "ours to theirs within a round; goals are on its median",
    "peak_gib": "most resident memory of the contestant's process until after its last step, "
    "loading and compiling included",
    "nll, gradient_norm": "of the first step, in nats per response token and before clipping; "
    "adapters start from other random weights, so that only their losses can be compared",
    "learning rate": f"{LEARNING_RATE:g}, so that all steps are on the same policy",
    "precision": "fp32, and TF32 nowhere; autocast: fp32 weights, bf16 products; bf16: weights and "
    "optimiser too, which rounds small updates away, and is no goal for that",
    "tunix": "told the model's rotary base, which tunix 0.1.7 ignores",
    "load": "threads that wanted to run, on average over the row's last minute",
}


class Size(NamedTuple):
    """How much there is to do."""

    rows: int
    length: int
    """Tokens of a row."""
    rounds: int
    learner: Mapping[str, Any]
    """Settings of ours besides the defaults."""


FULL = Size(8, 256, 3, {})
QUICK = Size(2, 64, 1, {"max_tokens": 64, "length_buckets": [64], "micro_batch_tokens": 128})


class Rival(NamedTuple):
    """Somebody to be compared with at one method."""

    name: str
    worker: str
    environment: str
    method: str
    precision: str = "fp32"
    speed: float | None = None
    """Goal of the ratio; None where it is only shown."""
    is_memory_goal: bool = False
    cases: tuple[str, ...] = (DENSE,)


RIVALS = (
    Rival("torch fp32", "torch_train", "torch", "full", "fp32", 1.5, True, cases=(DENSE, HALF)),
    Rival("torch autocast", "torch_train", "torch", "full", "autocast", 1.0),
    Rival("torch bf16", "torch_train", "torch", "full", "bf16"),
    Rival("tunix", "tunix_train", "tunix", "full", "fp32", 1.6),
    Rival(
        "torch + PEFT fp32", "torch_train", "torch", "lora", "fp32", 1.2, True, cases=(DENSE, HALF)
    ),
    Rival("tunix", "tunix_train", "tunix", "lora", "fp32", 1.6),
)
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    measured = [row for method in METHODS for row in method_rows(method, size)]
    print_table(measured)
    write_result(
        "train_step_quick" if options.quick else "train_step",
        measured,
        goals(measured),
        command="python benchmarks/train_step.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def turns(size: Size, case: str) -> list[Turn]:
    """The same text for everybody, cut into rows."""
    ids, length = text_ids(size.rows * size.length), size.length
    prompt = 1 if case == DENSE else length // 2
    cut = [ids[start : start + length] for start in range(0, len(ids), length)]
    return [(row[:prompt], row[prompt:]) for row in cut]


def method_rows(method: str, size: Size) -> list[Row]:
    """Ours against each rival at one method; ours stays, so that it is compiled once."""
    with Peer("clawjax_train", None) as ours:
        settings = {"learning_rate": LEARNING_RATE, **size.learner}
        ours.call("load", method=method, learner=settings)
        return [
            row
            for rival in RIVALS
            if rival.method == method
            for row in rival_rows(rival, ours, size)
        ]


def rival_rows(rival: Rival, ours: Contestant, size: Size) -> list[Row]:
    """A row per case; one that says why where the rival cannot be measured."""
    who = {"method": rival.method, "rival": rival.name}
    print(f"{rival.method}: {rival.name}", flush=True)
    try:
        with Peer(rival.worker, rival.environment) as theirs:
            told = theirs.call(
                "load",
                method=rival.method,
                precision=rival.precision,
                settings=optimiser_settings(),
            )
            measured = [
                duel({"ours": ours, "theirs": theirs}, turns(size, case), rounds=size.rounds)
                for case in rival.cases
            ]
            memory = memory_row(ours, theirs)
    except PeerError as error:
        ours.call("peak")  # raises where it was ours that failed
        return [{**who, "case": DENSE, "ratio": None, "not_measured": str(error)}]
    return [
        {**who, "case": case, **told, **row, **(memory if case == DENSE else {})}
        for case, row in zip(rival.cases, measured, strict=True)
    ]


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Speed and memory at dense rows, and that fp32 contestants compute the same."""
    dense = {(row["method"], row["rival"]): row for row in rows if row["case"] == DENSE}
    found: list[Goal] = []
    for rival in RIVALS:
        row, what = dense[rival.method, rival.name], f"{rival.method}, against {rival.name}"
        if rival.speed is not None:
            found.append(Goal(f"speed, {what}", ">=", rival.speed, row["ratio"], "x"))
        if rival.is_memory_goal:
            found.append(
                Goal(f"peak memory, {what}", "<=", 1.0, row.get("memory_ratio"), "of theirs")
            )
    alike = [dense[r.method, r.name] for r in RIVALS if r.precision == "fp32"]
    return [
        *found,
        Goal(
            "largest difference of the loss to an fp32 peer's",
            "<=",
            TOLERANCE,
            largest(difference(row, "nll") for row in alike),
            "nats/token",
        ),
        Goal(
            "largest relative difference of a full gradient's norm to an fp32 peer's",
            "<=",
            TOLERANCE,
            largest(
                difference(row, "gradient_norm", is_relative=True)
                for row in alike
                if row["method"] == "full"
            ),
            "relative",
        ),
    ]


def difference(row: Row, what: str, *, is_relative: bool = False) -> float | None:
    """Between what ours and theirs say; None where they were not measured."""
    if row["ratio"] is None:
        return None
    ours, theirs = row[f"ours_{what}"], row[f"theirs_{what}"]
    return abs(ours - theirs) / (abs(theirs) if is_relative else 1.0)


def print_table(rows: Sequence[Row]) -> None:
    print(f"\n{'method':7}{'rival':20}{'case':13}{'ours':>7}{'theirs':>8}  ratio, range   memory")
    for row in rows:
        start = f"{row['method']:7}{row['rival']:20}{row['case']:13}"
        if row["ratio"] is None:
            print(f"{start}not measured: {row['not_measured']}")
            continue
        memory = f"{row['memory_ratio']:.2f}" if "memory_ratio" in row else ""
        print(
            f"{start}{row['ours_tokens_per_s']:7.0f}{row['theirs_tokens_per_s']:8.0f}  "
            f"{row['ratio']:.2f} {row['ratio_low']:.2f}-{row['ratio_high']:.2f}  {memory}"
        )


if __name__ == "__main__":
    main()
