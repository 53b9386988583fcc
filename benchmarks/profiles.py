"""Where does the time go, in decoding and in training, and how far is it from what the machine can?

    python benchmarks/profiles.py [--quick]

SmolLM2-135M-Instruct under XLA's profiler: 1, 4 and 16 streams through the engine, and a training
step of [8, 256] tokens, all weights and LoRA; each in a process of its own, after runs that are not
profiled and give the speed. Beside them what the machine could do at best: reading the weights once
a step, and multiplying, at the rates of one large operation in the same process. About five minutes
on two cores. `--quick` takes short replies and rows: it shows that every part is found.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import _one_thread  # noqa: F401  (first: before numpy)
import jax
import jax.numpy as jnp
import numpy as np
from _compare import load, one_line
from _engine import served, text_prompts
from _learner import Learning
from _result import Goal, smallest, write_result
from _trace import DUMP_FLAGS, OTHER, PARTS, traced
from _training import LEARNING_RATE, text_ids

from clawjax.config import EngineConfig, LearnerConfig, ModelConfig
from clawjax.models.load import load_model

STREAMS = (1, 4, 16)
METHODS = ("full", "lora")
TIMED = 3
PROMPT = 64
_TIMEOUT_S = 900.0
_DUMP = "CLAWJAX_PROFILE_DUMP"
"""Tells a case's own process where XLA leaves its programs."""
KNOWN = 0.9
"""Share of the time of operations whose part of the work has to be known."""

NOTES = {
    "case": f"decode: replies to prompts of {PROMPT} tokens of English, sampled at temperature 1, "
    "fp32; their prompts are read within the time. train: make_batch and TrainStep.run, fp32, "
    "shipped settings, one prompt token a row",
    "tokens_per_s": f"median of {TIMED} runs without the profiler, after one that is not counted: "
    "reply tokens of all streams, or tokens of the step",
    "limit_tokens_per_s": "decode: a step reads all weights once and multiplies 2 N times a row, "
    "whichever takes longer; train: 6 N products a token, or 4 N where only adapters learn; N is "
    "the number of weights; attention, adapters and sampling are not counted",
    "gb_per_s, gflop_per_s": "the best of several sums of squares over half a GiB, by BLAS with a "
    "thread per core, and of products of [2048, 576] and [576, 1536], by XLA, in the same process",
    "busy": "share of the profiled time in which an operation ran: the rest is the host's, and "
    "what lies between operations of a program",
    "part: ...": "share of the time of the device's operations; projections are the products with "
    "weights of attention and feed-forward, backwards as well; stacking of layers is what scanning "
    "over the layers copies",
}
Row = dict[str, Any]


class Size(NamedTuple):
    """How much is done."""

    new_tokens: int
    rows: int
    length: int


FULL, QUICK = Size(64, 8, 256), Size(8, 2, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    if options.case:
        print(json.dumps(measured(options.case, size)))
        return
    cases = [f"decode {streams}" for streams in STREAMS] + [f"train {name}" for name in METHODS]
    rows = limited([in_own_process(case, quick=options.quick) for case in cases])
    write_result(
        "profiles_quick" if options.quick else "profiles",
        rows,
        goals(rows),
        command="python benchmarks/profiles.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def goals(rows: list[Row]) -> list[Goal]:
    known = smallest(1.0 - row.get(f"part: {OTHER}", 0.0) for row in rows)
    name = "time of operations whose part of the work is known"
    return [Goal(name, ">=", KNOWN, known, "share")]


def in_own_process(case: str, *, quick: bool) -> Row:
    """`measured`, by a process whose XLA leaves the text of its programs in a folder.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    with tempfile.TemporaryDirectory(prefix="clawjax_profile_") as folder:
        flags = f"{os.environ.get('XLA_FLAGS', '')} {DUMP_FLAGS}{folder}".strip()
        command = [sys.executable, __file__, "--case", case, *(["--quick"] if quick else [])]
        environment = os.environ | {"XLA_FLAGS": flags, _DUMP: folder}
        done = subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, timeout=_TIMEOUT_S
        )
    row = json.loads(done.stdout.splitlines()[-1])
    print(one_line(row), flush=True)
    return row


def measured(case: str, size: Size) -> Row:
    """A row: speed, limit and shares of one case."""
    kind, _, which = case.partition(" ")
    row = decoding(int(which), size) if kind == "decode" else training(which, size)
    return {"case": case, **row, "load": load()}


def decoding(streams: int, size: Size) -> Row:
    """So many replies at once."""
    model = load_model(ModelConfig())
    weights = _count(model.params)
    config = EngineConfig(slots=streams)
    with served(model, config) as engine:
        prompts = text_prompts(model.tokenizer, PROMPT)

        def work() -> None:
            engine.sampled([next(prompts) for _ in range(streams)], size.new_tokens)

        row = _row(work, streams * size.new_tokens, machine_rates())
        per_token = 2.0 * weights / 1e9
        return row | {"gb_per_token": 2.0 * per_token / streams, "gflop_per_token": per_token}


def training(method: str, size: Size) -> Row:
    """A step on as many rows, all of them replies."""
    model = load_model(ModelConfig())
    products = {"full": 6, "lora": 4}[method] * _count(model.params)
    learner = LearnerConfig(method=method, learning_rate=LEARNING_RATE)
    learning = Learning(model, learner)
    ids = text_ids(size.rows * size.length)
    cut = [ids[start : start + size.length] for start in range(0, len(ids), size.length)]
    learning.prepare([(row[:1], row[1:]) for row in cut])
    row = _row(learning.train, len(ids), machine_rates())
    return row | {"gb_per_token": 0.0, "gflop_per_token": products / 1e9}


def limited(rows: Sequence[Row]) -> list[Row]:
    """The rows beside what the machine could do: one machine, at the best rates that any case saw.

    Each case is a process of its own, and a busy moment there lowers what it sees of the machine.
    """
    gb_per_s = max(row["gb_per_s"] for row in rows)
    gflop_per_s = max(row["gflop_per_s"] for row in rows)
    limits = [
        1.0 / max(row["gb_per_token"] / gb_per_s, row["gflop_per_token"] / gflop_per_s)
        for row in rows
    ]
    return [
        row | {"limit_tokens_per_s": limit, "share_of_limit": row["tokens_per_s"] / limit}
        for row, limit in zip(rows, limits, strict=True)
    ]


def _row(work: Callable[[], object], tokens: int, rates: Mapping[str, float]) -> Row:
    work()
    speed = median(tokens / _seconds(work) for _ in range(TIMED))
    with tempfile.TemporaryDirectory(prefix="clawjax_trace_") as folder:
        trace = traced(work, Path(folder), Path(os.environ[_DUMP]))
    return {
        "tokens_per_s": speed,
        "busy": trace.busy,
        **{f"part: {part}": trace.shares.get(part, 0.0) for part in (*PARTS, OTHER)},
        **rates,
    }


def machine_rates() -> dict[str, float]:
    """What the machine can do at best: GB/s of reading, GFLOP/s of fp32 products."""
    words = np.ones(2**27, np.float32)
    parts = np.split(words, os.cpu_count() or 1)
    left, right = jnp.ones((2048, 576), jnp.float32), jnp.ones((576, 1536), jnp.float32)
    product = jax.jit(jnp.matmul)
    with ThreadPoolExecutor(len(parts)) as pool:
        reading = _best(lambda: list(pool.map(np.vdot, parts, parts)))
    multiplying = _best(lambda: product(left, right).block_until_ready())
    return {
        "gb_per_s": words.nbytes / reading / 1e9,
        "gflop_per_s": 2.0 * left.size * right.shape[1] / multiplying / 1e9,
    }


def _best(work: Callable[[], object]) -> float:
    work()
    return min(_seconds(work) for _ in range(9))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _count(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


if __name__ == "__main__":
    main()
