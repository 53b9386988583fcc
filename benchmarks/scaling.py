"""How does cost grow, in training and in serving?

    python benchmarks/scaling.py [--quick]

Training: with tokens, the length of rows, the rank of adapters and layers; points of a series in
turn, and the exponent of a power law through them. Serving: with streams and context. About ten
minutes on two cores. `--quick` takes short rows, two points of each and one round.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from _compare import in_turn, load, spread
from _engine_scaling import ENGINE_NOTES, engine_rows
from _fit import fit_power_law
from _learner import Learning, with_layers
from _result import Goal, write_result
from _training import LEARNING_RATE, Turn, text_ids

from clawjax.config import LearnerConfig, LoraConfig, ModelConfig
from clawjax.models.load import LoadedModel, load_model

ROUNDS, QUICK_ROUNDS, QUICK_POINTS = 3, 1, 2
ROW, QUICK_ROW = 256, 32
ROWS = (1, 2, 4, 8, 16)
LENGTHS, LENGTH_ROWS = (0.5, 1, 2, 4, 8), 8
"""Row lengths as multiples of ROW; together they are so many rows of it."""
RANKS, LAYERS = (4, 8, 16, 32, 64), (5, 10, 20, 30)
NOTES = {
    "method": "LoRA, rank 16 on all linear layers, unless the row says otherwise; fp32",
    "tokens": f"of a step, in rows of {ROW}, all of them in one micro-batch",
    "row length": f"of the rows that {LENGTH_ROWS * ROW} tokens are divided into",
    "rank": f"of the adapters, at 4 rows of {ROW} tokens",
    "layers": f"that are left of the model's 30, at 4 rows of {ROW} tokens",
    "seconds": "of a step (make_batch and TrainStep.run), median and range over rounds in which "
    "the points of a series take turns, after one step that is not counted",
    "exponent": "b of y = a x^b, by least squares of logarithms over the series; y is what the "
    "series measures: seconds, seconds_per_token (context) or tokens_per_s (streams)",
    **ENGINE_NOTES,
}
MEASURES = ("seconds", "seconds_per_token", "tokens_per_s")
"""What a row may have measured, the first that it has being what its series is about."""
Row = dict[str, Any]


class Point(NamedTuple):
    """One step to be timed."""

    x: float
    rows: int
    length: int
    learner: LearnerConfig
    layers: int | None = None
    """None leaves them all."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rows = with_exponents([*learner_rows(quick=options.quick), *engine_rows(quick=options.quick)])
    print_table(rows)
    write_result(
        "scaling_quick" if options.quick else "scaling",
        rows,
        goals(rows),
        command="python benchmarks/scaling.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def learner_rows(*, quick: bool) -> Iterator[Row]:
    """All series of the learner."""
    model = load_model(ModelConfig())
    for name, points in series(QUICK_ROW if quick else ROW).items():
        if quick:
            yield from series_rows(name, points[:QUICK_POINTS], model, rounds=QUICK_ROUNDS)
        else:
            yield from series_rows(name, points, model, rounds=ROUNDS)
        gc.collect()  # what is compiled and stacked for a series is not needed by the next one


def series(row: int) -> Mapping[str, Sequence[Point]]:
    """What is varied, and the points of it, in rows of so many tokens."""
    lengths = [int(row * multiple) for multiple in LENGTHS]
    total = LENGTH_ROWS * row
    return {
        "tokens": [Point(n * row, n, row, learner(row, n * row)) for n in ROWS],
        "row length": [Point(n, total // n, n, learner(n, total)) for n in lengths],
        "rank": [Point(r, 4, row, learner(row, 4 * row, rank=r)) for r in RANKS],
        "layers": [Point(n, 4, row, learner(row, 4 * row), layers=n) for n in LAYERS],
    }


def learner(row: int, tokens: int, *, rank: int = 16) -> LearnerConfig:
    """One that has rows of just this length, and takes all tokens at once."""
    return LearnerConfig(
        method="lora",
        lora=LoraConfig(rank=rank, alpha=2.0 * rank),
        learning_rate=LEARNING_RATE,
        max_tokens=row,
        length_buckets=[row],
        micro_batch_tokens=tokens,
    )


def series_rows(
    name: str, points: Sequence[Point], model: LoadedModel, *, rounds: int
) -> Iterator[Row]:
    """A row per point."""
    print(name, flush=True)
    measured = in_turn({f"{point.x:g}": step(point, model) for point in points}, rounds=rounds)
    for point in points:
        seconds = spread(measured[f"{point.x:g}"])
        tokens = point.rows * point.length
        yield {
            "series": name,
            "x": point.x,
            "tokens": tokens,
            **seconds.as_row("seconds"),
            "tokens_per_s": tokens / seconds.median,
            "load": load(),
        }


def step(point: Point, model: LoadedModel) -> Callable[[], float]:
    """A step at this point, ready to be taken again and again."""
    if point.layers is not None:
        model = with_layers(model, point.layers)
    learning = Learning(model, point.learner)
    learning.prepare(turns(point.rows, point.length))
    return lambda: learning.train().seconds


def turns(rows: int, length: int) -> list[Turn]:
    """Dense rows of text: a prompt of one token each."""
    ids = text_ids(rows * length)
    cut = [ids[start : start + length] for start in range(0, len(ids), length)]
    return [(row[:1], row[1:]) for row in cut]


def with_exponents(rows: Sequence[Row]) -> list[Row]:
    """The rows, those of each series followed by one with its exponent."""
    found: list[Row] = []
    for name in dict.fromkeys(row["series"] for row in rows):
        points = [row for row in rows if row["series"] == name]
        measure = measure_of(points[0])
        law = fit_power_law([row["x"] for row in points], [row[measure] for row in points])
        found += [*points, {"series": name, "measure": measure, "exponent": law.exponent}]
    return found


def measure_of(row: Row) -> str:
    return next(measure for measure in MEASURES if measure in row)


def goals(rows: Sequence[Row]) -> list[Goal]:
    (exponent,) = (r["exponent"] for r in rows if r["series"] == "tokens" and "exponent" in r)
    return [Goal("exponent of a step's time in its tokens", "<=", 1.1, exponent, "exponent")]


def print_table(rows: Sequence[Row]) -> None:
    print(f"\n{'series':12}{'x':>7}  measured")
    for row in rows:
        if "exponent" in row:
            print(f"{row['series']:12}{'':7}  exponent of {row['measure']}: {row['exponent']:.2f}")
        else:
            measure = measure_of(row)
            print(f"{row['series']:12}{row['x']:7g}  {row[measure]:.4g} {measure}")


if __name__ == "__main__":
    main()
