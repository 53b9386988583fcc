"""The material of the benchmarks of training, and what they make of the numbers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import grpo_step
import pytest
import scaling
import train_ragged
import train_step
from _learner import Learning, as_sample, with_layers
from _training import duel, ragged_lengths, ragged_turns, text_ids

from clawjax.config import LearnerConfig, ModelConfig
from clawjax.learner.batching import make_batch
from clawjax.models.load import load_model


def lengths(count: int) -> list[int]:
    return ragged_lengths(count, median=128, sigma=0.8, low=16, high=1024, seed=0)


def test_ragged_lengths_are_log_normal_clipped_and_always_the_same() -> None:
    found = sorted(lengths(2001))
    assert found == sorted(lengths(2001))
    assert (found[0], found[-1]) == (16, 1024)
    assert found[1000] == pytest.approx(128, rel=0.1)
    assert found[1682] / found[1000] == pytest.approx(2.23, rel=0.1)  # e^0.8: one sigma above


def test_ragged_turns_are_half_prompt_and_wrap_around_and_share_no_beginning() -> None:
    turns = ragged_turns(range(100), [16, 61, 100, 17], seed=3)
    assert [len(prompt) for prompt, _ in turns] == [8, 30, 50, 8]
    whole = [prompt + response for prompt, response in turns]
    assert [len(ids) for ids in whole] == [16, 61, 100, 17]
    assert all((b - a) % 100 == 1 for ids in whole for a, b in pairwise(ids))
    assert len({ids[0] for ids in whole}) == 4


def test_the_text_goes_on_from_its_beginning() -> None:
    short, long = text_ids(10), text_ids(5000)
    assert len(long) == 5000
    assert long[:10] == short
    assert short in (long[i : i + 10] for i in range(1000, 4990))


class Answers:
    """Takes 1 s for the first step, then a second more each time; counts the calls."""

    def __init__(self, nll: float) -> None:
        self.nll, self.steps = nll, 0

    def call(self, command: str, **_: Any) -> dict[str, Any]:
        if command == "prepare":
            return {"nll": self.nll}
        self.steps += 1
        return {"seconds": float(self.steps), "gradient_norm": float(self.steps)}


def test_a_duel_compares_rounds_and_tells_the_first_steps_numbers() -> None:
    both = {"ours": Answers(1.0), "theirs": Answers(2.0)}
    row = duel(both, [([1], [2] * 59)] * 2, rounds=3)
    assert row["tokens"] == 120
    assert row["ours_tokens_per_s"] == 40.0  # after a step that is not counted: 60, 40, 30
    assert (row["ours_tokens_per_s_low"], row["ours_tokens_per_s_high"]) == (30.0, 60.0)
    assert (row["ours_nll"], row["theirs_nll"]) == (1.0, 2.0)
    assert row["theirs_gradient_norm"] == 1.0
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == (1.0, 1.0, 1.0)


def step_rows() -> list[dict[str, Any]]:
    """All rivals measured, ours twice as fast and of the same size."""
    return [
        {
            "method": rival.method,
            "rival": rival.name,
            "case": train_step.DENSE,
            "ratio": 2.0,
            "memory_ratio": 1.0,
            "ours_nll": 4.0,
            "theirs_nll": 4.0005,
            "ours_gradient_norm": 10.0,
            "theirs_gradient_norm": 10.001,
        }
        for rival in train_step.RIVALS
    ]


def test_step_goals_are_met_where_everything_is_and_name_what_is_missing() -> None:
    rows = step_rows()
    assert all(goal.met for goal in train_step.goals(rows))
    del rows[3]["memory_ratio"]
    rows[3] |= {"ratio": None, "not_measured": "it is not installed"}
    unmet = [goal.name for goal in train_step.goals(rows) if not goal.met]
    assert unmet == [
        "speed, full, against tunix",
        "largest difference of the loss to an fp32 peer's",
        "largest relative difference of a full gradient's norm to an fp32 peer's",
    ]


def test_contestants_that_sampled_other_lengths_are_counted() -> None:
    sampled = {"ours_prompt_tokens": 9, "theirs_prompt_tokens": 9, "ours_completion_tokens": 64}
    even = {"ratio": 3.0, **sampled, "theirs_completion_tokens": 64}
    assert not grpo_step.is_uneven(even)
    assert grpo_step.is_uneven(even | {"theirs_completion_tokens": 63})
    assert not grpo_step.is_uneven({"ratio": None})


def test_warming_up_meets_every_bucket_that_a_turn_can_need() -> None:
    turns = [([1] * 50, [1] * 50), ([1] * 300, [1] * 300), ([1] * 10, [1] * 10)]
    buckets = [[train_ragged.size_of(turn) for turn in step] for step in one_step_each(turns)]
    assert buckets == [[100], [600]]
    assert [list(map(train_ragged.size_of, s)) for s in one_step_each(turns[2:])] == [[20]]


def one_step_each(turns: list[tuple[list[int], list[int]]]) -> list[Any]:
    return [*train_ragged.one_per_bucket(turns, [512, 1024, 2048])]


def test_what_is_timed_is_one_step_on_the_tokens_that_were_given() -> None:
    model = load_model(replace(ModelConfig(), path="random:llama", context_length=128))
    model = with_layers(model, 1)
    assert model.architecture.num_layers == 1
    assert [name for name in model.params if name.startswith("layers")] == ["layers_0"]
    config = LearnerConfig(
        method="full", max_tokens=64, length_buckets=[64], micro_batch_tokens=64, learning_rate=1e-9
    )
    learning = Learning(model, config)
    nll = learning.prepare([([1, 2], [3, 4, 5]), ([6], [7] * 20)])
    assert 0 < nll < 20
    first, second = learning.train(), learning.train()
    assert first.computed_tokens == 64  # both in one row
    assert first.seconds > 0
    assert first.gradient_norm == pytest.approx(second.gradient_norm, rel=1e-4)


def test_the_ragged_turns_of_the_benchmark_share_no_segments() -> None:
    turns = train_ragged.all_turns()
    assert sum(map(train_ragged.size_of, turns)) > 8_000
    batch = make_batch(
        [as_sample(index, turn, version=0) for index, turn in enumerate(turns)],
        version=0,
        length_buckets=[512, 1024, 2048],
        micro_batch_tokens=1024,
    )
    filled = sum(int((micro.segment_ids > 0).sum()) for micro in batch.micro_batches)
    assert filled == sum(map(train_ragged.size_of, turns))


def test_every_series_ends_with_the_exponent_of_what_it_measures() -> None:
    rows = [
        {"series": "tokens", "x": x, "seconds": 2.0 * x, "tokens_per_s": 0.5} for x in (1, 2, 4)
    ] + [{"series": "streams", "x": x, "tokens_per_s": 3.0 * x**0.5} for x in (1, 4)]
    found = scaling.with_exponents(rows)
    assert [row["series"] for row in found] == ["tokens"] * 4 + ["streams"] * 3
    tokens, streams = (row for row in found if "exponent" in row)
    assert (tokens["measure"], streams["measure"]) == ("seconds", "tokens_per_s")
    assert tokens["exponent"] == pytest.approx(1.0)
    assert streams["exponent"] == pytest.approx(0.5)
    assert [goal.value for goal in scaling.goals(found)] == [tokens["exponent"]]


def test_the_points_of_a_series_differ_in_nothing_but_what_is_varied() -> None:
    found = scaling.series(32)
    assert [point.rows * point.length for point in found["tokens"]] == [32, 64, 128, 256, 512]
    assert {point.rows * point.length for point in found["row length"]} == {256}
    assert [point.learner.lora.rank for point in found["rank"]] == list(scaling.RANKS)
    assert [point.layers for point in found["layers"]] == list(scaling.LAYERS)
    one_micro_batch = (
        point.learner.micro_batch_tokens == point.rows * point.length
        for points in found.values()
        for point in points
    )
    assert all(one_micro_batch)
