"""What the engine's benchmarks compute, on a tiny engine and on times made up."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from _engine import Reply, Served, asked, elapsed, excerpts, served, steady_rate, text_prompts
from _engine_agreement import (
    Plain,
    first_difference,
    greedy_differences,
    mismatch,
    sampler_mismatch,
)
from _engine_scaling import seconds_per_token, tokens_per_s
from decode import FULL, HF_BF16, decode_rates, goals, ratio_rows, speed_goal
from startup import text_of
from ttft import CLAWJAX, COLD, WARM, Beside, Prompts, gap_rows, read_while_running, time_rows
from ttft import goals as ttft_goals

from clawjax.config import EngineConfig, ModelConfig
from clawjax.models.load import LoadedModel, load_model


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(ModelConfig(path="random:llama", context_length=256), seed=1)


@pytest.fixture(scope="module")
def engine(model: LoadedModel) -> Iterator[Served]:
    config = EngineConfig(
        slots=4, prefill_chunk=32, live_buckets=[256], warm_up=False, compilation_cache=None
    )
    with served(model, config) as running:
        yield running


def reply(asked_at: float, *arrived_at: float) -> Reply:
    made_up = Reply(asked((1, 2), len(arrived_at)), asked_at)
    made_up.arrived_at += arrived_at
    return made_up


def test_excerpts_go_round_the_text_and_begin_differently() -> None:
    text = range(100)
    found = list(islice(excerpts(text, 60), 3))
    assert [len(one) for one in found] == [60, 60, 60]
    assert found[1] == (*range(67, 100), *range(27))
    assert len({one[:16] for one in islice(excerpts(text, 60), 100)}) == 100


def test_time_is_from_the_first_asking_to_the_last_token() -> None:
    replies = [reply(1.0, 2.0, 5.0), reply(0.5, 3.0, 4.0)]
    assert elapsed(replies) == 4.5
    assert replies[0].first_s == 1.0
    assert replies[0].gaps_s == [3.0]


def test_the_steady_rate_counts_while_every_stream_decodes() -> None:
    early, late = reply(0, 1, 2, 3, 4, 5), reply(0, 3, 4, 5, 6, 7)
    assert steady_rate([early, late]) == 2.0  # tokens at 4, 4, 5, 5 in two seconds
    with pytest.raises(ValueError, match="ask for more tokens"):
        steady_rate([reply(0, 1, 2), reply(0, 2, 3)])


def test_replies_are_as_long_as_asked_for_and_come_at_once(
    model: LoadedModel, engine: Served
) -> None:
    prompts = list(islice(text_prompts(model.tokenizer, 20), 6))
    replies = engine.sampled(prompts, 5)
    assert [one.request.prompt_ids for one in replies] == prompts
    assert {len(one.ids) for one in replies} == {len(one.arrived_at) for one in replies} == {5}
    assert len({one.request.seed for one in replies}) == 6
    full = model.context_length - 2
    with pytest.raises(ExceptionGroup) as failed:
        engine.sampled([tuple(prompts[0] * 13)[:full]], 5)
    assert "a reply has 2 tokens, 5 were asked for" in str(failed.value.exceptions[0])


def test_log_probs_of_the_engine_are_those_of_the_plain_forward(
    model: LoadedModel, engine: Served
) -> None:
    replies = engine.sampled(list(islice(text_prompts(model.tokenizer, 20), 5)), 6)
    assert sampler_mismatch(model, replies).max_abs < 1e-4
    replies[3].sampler_logprobs[2] += 0.5
    found = sampler_mismatch(model, replies)
    assert found.max_abs == pytest.approx(0.5, abs=1e-4)
    assert found.mean_abs == pytest.approx(0.5 / 30, abs=1e-4)


def test_a_mismatch_in_nats() -> None:
    plain = np.log([[0.5, 0.1]])
    found = mismatch(np.log([[0.25, 0.1]]), plain)
    assert found.mean_abs == pytest.approx(np.log(2) / 2)
    assert found.max_abs == pytest.approx(np.log(2))
    assert found.kl == pytest.approx((2 - 1 - np.log(2)) / 2)


def test_where_greedy_replies_part_and_how_close_it_was(model: LoadedModel, engine: Served) -> None:
    prompts = list(islice(text_prompts(model.tokenizer, 20), 3))
    replies = engine.replies([asked(prompt, 6, temperature=0) for prompt in prompts])
    theirs = [list(one.ids) for one in replies]
    assert greedy_differences(model, replies, theirs) == []
    theirs[1][4] += 1
    (found,) = greedy_differences(model, replies, theirs)
    margins = Plain.of(model, prompts, [one.ids for one in replies]).margins
    assert (found["prompt"], found["position"]) == (1, 4)
    assert found["margin"] == pytest.approx(margins[1, 4], rel=1e-4)
    assert found["margin"] > 0
    assert first_difference([1, 2, 3], [1, 2, 3]) is None
    assert first_difference([1, 2, 3], [1, 0, 0]) == 1


def test_decoding_is_what_a_whole_reply_takes_longer_than_its_first_token() -> None:
    assert decode_rates([3.0, 5.0], [1.0, 1.0], tokens=8) == [4.0, 2.0]


def test_speed_goals_take_the_better_of_ours_and_name_it() -> None:
    decode = {"a": [2.0, 4.0], "b": [6.0, 8.0], HF_BF16: [2.0, 2.0]}
    rows = ratio_rows(decode, ["a", "b"], 4)
    assert [(row["ours"], row["ratio"]) for row in rows] == [("a", 1.5), ("b", 3.5)]
    best = speed_goal(rows, ("a", "b"), HF_BF16, 4, 1.5)
    assert (best.name, best.value, best.met) == ("b over HF generate bf16, 4 streams", 3.5, True)
    absent = speed_goal(rows, ("a", "b"), HF_BF16, 1, 1.5)
    assert (absent.name, absent.value) == ("a or b over HF generate bf16, 1 stream", None)


def test_nothing_measured_meets_no_goal_of_decoding() -> None:
    found = goals([])
    assert len(found) == 4 * len(FULL.streams) + 2
    assert not any(goal.met for goal in found)


def test_a_warm_prompt_is_the_last_cold_one_with_another_end(model: LoadedModel) -> None:
    prompts = Prompts(model.tokenizer, 100)
    with pytest.raises(RuntimeError, match="needs a cold one before"):
        prompts.warm()
    cold = prompts.cold()
    warm, again = prompts.warm(), prompts.warm()
    assert len(cold) == len(warm) == len(again) == 100
    assert cold[:68] == warm[:68] == again[:68]
    assert len({cold[68:], warm[68:], again[68:]}) == 3
    assert prompts.cold()[:16] != cold[:16]


def test_gaps_are_idle_before_a_prompt_and_of_its_reading_wherever_they_overlap_it() -> None:
    streams = [reply(0, 1, 2, 4, 7, 11), reply(0, 2, 3, 8, 10, 16)]
    long = reply(4.5, 9.0)
    found = Beside.of(long, streams)
    assert found.first_s == 4.5
    assert found.idle_gaps_s == [2, 1]  # 2 to 4 and 2 to 3
    assert found.reading_gaps_s == [3, 4, 5, 2]  # 4 to 7, 7 to 11, 3 to 8 and 8 to 10


def test_worst_gaps_are_compared_within_a_round() -> None:
    rounds = [Beside(1, [1, 2], [3, 8]), Beside(1, [1, 4], [2, 1]), Beside(1, [1, 1], [2, 1])]
    idle, reading, ratio = gap_rows(rounds)
    assert (idle["worst_s"], idle["worst_s_high"], idle["gaps"]) == (2, 4, 6)
    assert (reading["worst_s"], reading["p99_s"]) == (2, pytest.approx(7.75))
    assert (ratio["ratio"], ratio["ratio_low"], ratio["ratio_high"]) == (2, 0.5, 4)


def test_goals_of_the_first_token() -> None:
    times = {(CLAWJAX, COLD): [1.0, 4.0], (CLAWJAX, WARM): [0.1, 0.4]}
    rows = [*time_rows(times), *gap_rows([Beside(1, [1.0], [3.0])])]
    warm, gap = ttft_goals(rows)
    assert (warm.value, warm.met, gap.value, gap.met) == (pytest.approx(0.1), True, 3, False)


def test_a_prompt_is_read_beside_running_replies(model: LoadedModel, engine: Served) -> None:
    prompts = text_prompts(model.tokenizer, 20)
    running = [asked(prompt, 200) for prompt in islice(prompts, 2)]
    long = asked(next(text_prompts(model.tokenizer, 200)), 1)
    found = engine.run(read_while_running(engine.engine, running, long))
    assert found.first_s > 0
    assert len(found.idle_gaps_s) >= 30  # of the one that began last, and most of the other
    assert len(found.reading_gaps_s) >= 2
    assert engine.engine.status().running <= 2  # cancelled, if not yet noticed
    short = [
        replace(one, sampling=replace(one.sampling, max_response_tokens=33)) for one in running
    ]
    with pytest.raises(ExceptionGroup) as failed:
        engine.run(read_while_running(engine.engine, short, long))
    assert "a reply of 33 tokens ended too early" in str(failed.value.exceptions[0])


def test_scaling_is_measured_on_the_engine(model: LoadedModel, engine: Served) -> None:
    prompts = text_prompts(model.tokenizer, 20)
    assert tokens_per_s(engine, prompts, 3, 24) > 0
    assert seconds_per_token(engine, next(prompts)) > 0


def test_text_in_an_event_stream() -> None:
    assert text_of('data: {"choices": [{"delta": {"content": "Hi"}}]}') == "Hi"
    for line in (
        "",
        ": comment",
        "data: [DONE]",
        'data: {"choices": []}',
        'data: {"choices": [{"delta": {"role": "assistant", "content": null}}]}',
    ):
        assert text_of(line) == ""
