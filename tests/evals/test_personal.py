"""Held-out evaluation over HTTP, and what it makes of replies."""

from __future__ import annotations

from pathlib import Path

import pytest
from eval_records import replies
from hypothesis import given
from hypothesis import strategies as st
from scripted_endpoint import ScriptedEndpoint

from clawjax.envs.persona import load_persona
from clawjax.errors import EngineError
from clawjax.evals.asking import Asker
from clawjax.evals.bootstrap import bootstrap_mean
from clawjax.evals.personal import StyleResult, evaluate_style, summarise

BRIEF = load_persona("brief")


def half_short(messages: list[dict[str, str]]) -> str:
    index = BRIEF.held_out_prompts.index(messages[0]["content"])
    return f"Short answer number {index}." if index % 2 else "word " * 200


async def evaluate(endpoint: ScriptedEndpoint, *, n: int = 6, seed: int = 1) -> StyleResult:
    async with endpoint.serving():
        asker = Asker(endpoint.base_url, "scripted", retries=2)
        return await evaluate_style(asker, BRIEF, n=n, seed=seed)


async def test_replies_are_scored_and_kept() -> None:
    result = await evaluate(ScriptedEndpoint(half_short, version=4))
    assert (result.style_score, result.n, result.version) == (0.5, 6, 4)
    assert result.mean_words == pytest.approx((3 * 200 + 3 * 4) / 6)
    assert [reply.prompt for reply in result.replies] == list(BRIEF.held_out_prompts[:6])
    assert [reply.score for reply in result.replies] == [0.0, 1.0] * 3
    assert len({reply.response_id for reply in result.replies}) == 6


async def test_the_same_prompts_are_asked_with_the_same_seeds_and_never_trained_on() -> None:
    asked = []
    for seed in (1, 1, 2):
        endpoint = ScriptedEndpoint(half_short)
        await evaluate(endpoint, seed=seed)
        asked.append({r["messages"][0]["content"]: r["seed"] for r in endpoint.requests})
        assert {headers["x-turn-type"] for headers in endpoint.headers} == {"side"}
    assert asked[0] == asked[1]
    assert asked[0].keys() == asked[2].keys()
    assert set(asked[0].values()).isdisjoint(asked[2].values())


async def test_the_score_knows_what_was_asked() -> None:
    teacher = load_persona("teacher")
    comment = "Well done, your bees carry pollen! You could tell us more about the {}."
    endpoint = ScriptedEndpoint(lambda messages: comment.format(messages[0]["content"]))
    async with endpoint.serving():
        result = await evaluate_style(Asker(endpoint.base_url, "scripted"), teacher, n=3)
    assert result.style_score == 1.0
    assert not any(teacher.score(reply.text) for reply in result.replies)


async def test_passing_trouble_is_waited_out() -> None:
    result = await evaluate(ScriptedEndpoint(half_short, failures=[503, 500]))
    assert result.n == 6


async def test_a_prompt_without_reply_is_an_error_not_a_zero() -> None:
    with pytest.raises(EngineError, match="evaluation prompt got no reply"):
        await evaluate(ScriptedEndpoint(half_short, failures=[400]))


async def test_an_absent_server_is_named() -> None:
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9"):
        await evaluate_style(Asker("http://127.0.0.1:9/v1", "m", retries=0), BRIEF, n=1)


def test_results_survive_the_disk(tmp_path: Path) -> None:
    result = summarise(replies([0.0, 1.0, 1.0]), version=2)
    result.save(tmp_path / "eval.json")
    assert StyleResult.load(tmp_path / "eval.json") == result
    assert StyleResult.load(tmp_path / "none.json") is None


def test_healthy_replies_are_not_degenerate() -> None:
    assert not summarise(replies([0.0, 1.0, 1.0, 0.0])).is_degenerate


@pytest.mark.parametrize("text", ["No.", "the same words every time", "go go go go go go go go {}"])
def test_saying_nothing_or_always_the_same_is_degenerate(text: str) -> None:
    made = replies([1.0] * 10, text=text)
    made = [type(r)(r.prompt, r.text, len(r.text.split()), 1.0, "e", "stop") for r in made]
    assert summarise(made).is_degenerate


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_interval_holds_the_mean_and_stays_within_the_values(values: list[float]) -> None:
    low, high = bootstrap_mean(values, samples=200)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert bootstrap_mean(values, samples=200) == (low, high)


def test_the_interval_is_about_two_standard_errors_wide() -> None:
    low, high = bootstrap_mean([0.0, 1.0] * 50)
    assert low == pytest.approx(0.4, abs=0.03)
    assert high == pytest.approx(0.6, abs=0.03)


def test_nothing_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match="no held-out replies"):
        summarise([])
