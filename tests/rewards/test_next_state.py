import asyncio
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turn_records import make_turn

from clawjax.config import NextStateConfig
from clawjax.rewards.next_state import NextStateReward, score_of
from clawjax.rewards.reaction_data import read_examples
from clawjax.rewards.reaction_model import Reaction, ReactionModel

from .reward_records import feedback, session_closed, tool_says, user_says
from .test_reaction_data import TEST_PATH, VALIDATION_PATH


@pytest.fixture(scope="module")
def model() -> ReactionModel:
    return ReactionModel.packaged()


@pytest.fixture(scope="module")
def reward(model) -> NextStateReward:
    return NextStateReward(NextStateConfig(), model)


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.floats(0.5, 1))
def test_a_score_needs_confidence_and_follows_the_likelier_sign(weights, confidence):
    praise, complaint, neutral = (weight / sum(weights) for weight in weights)
    score = score_of(Reaction(praise, complaint, neutral), confidence=confidence)
    if max(praise, complaint) < confidence:
        assert score is None
    else:
        assert score == (1.0 if praise > complaint else -1.0)


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.floats(0.5, 1))
def test_a_graded_score_has_the_same_sign_and_is_the_expected_one(weights, confidence):
    praise, complaint, neutral = (weight / sum(weights) for weight in weights)
    reaction = Reaction(praise, complaint, neutral)
    sign = score_of(reaction, confidence=confidence)
    graded = score_of(reaction, confidence=confidence, is_graded=True)
    if sign is None:
        assert graded is None
    else:
        assert graded == pytest.approx(1 * praise + (-1) * complaint + 0 * neutral)
        assert graded * sign >= 0


async def test_the_judge_grades_where_it_is_told_to(model):
    reward = NextStateReward(NextStateConfig(is_graded=True), model)
    score = (await reward.judge(make_turn(), user_says("Thank you, that is perfect."))).score
    assert score is not None
    assert 0.7 < score < 1.0


@pytest.mark.parametrize("path", [TEST_PATH, VALIDATION_PATH])
def test_four_in_five_reactions_are_understood_and_few_the_wrong_way_round(model, path):
    rows = read_examples(path)
    signs = {"praise": 1.0, "complaint": -1.0, "neutral": None}
    confidence = NextStateConfig().confidence
    said = [score_of(model.classify(row.text), confidence=confidence) for row in rows]
    labels = [signs[row.label] for row in rows]
    pairs = list(zip(said, labels, strict=True))
    scored = [pair for pair in pairs if pair[0] is not None]
    flipped = [pair for pair in scored if pair[1] == -pair[0]]
    assert sum(score == label for score, label in pairs) / len(pairs) >= 0.80
    assert len(flipped) / len(scored) <= 0.08


@pytest.mark.parametrize(
    ("words", "score"),
    [
        ("Thank you, that is exactly what I wanted.", 1.0),
        ("That is far too long for me. What goes well with rice?", -1.0),
        ("What goes well with rice?", None),
        ("[Sun 2026-11-22 21:08 UTC] Thank you, perfect!", 1.0),
    ],
)
async def test_reactions_become_scores_and_questions_do_not(reward, words, score):
    verdict = await reward.judge(make_turn(), user_says(words))
    assert verdict.score == score
    assert (verdict.turn_id, verdict.module) == ("t1", "next_state")


@pytest.mark.parametrize(
    "words", ["Das ist leider viel zu lang und nicht was ich wollte.", "太长了"]
)
async def test_other_languages_abstain(reward, words):
    assert (await reward.judge(make_turn(), user_says(words))).score is None


async def test_without_words_there_is_nothing_to_judge(reward):
    verdict = await reward.judge(make_turn(), user_says("```python\nprint(1)\n```"))
    assert (verdict.score, verdict.explanation) == (None, "the user said nothing")


async def test_a_rejected_call_is_bad_and_other_tool_results_say_nothing(reward):
    rejected = await reward.judge(make_turn(), tool_says("Error: unknown tool 'serach'"))
    assert rejected.score == -1.0
    for result in ("Great! Thank you, perfect.", "Error: connection refused"):
        assert (await reward.judge(make_turn(), tool_says(result))).score is None


def test_only_users_and_tools_are_read(reward):
    assert reward.applies(make_turn(), user_says("hm"))
    assert reward.applies(make_turn(), tool_says("hm"))
    assert not reward.applies(make_turn(), session_closed())
    assert not reward.applies(make_turn(), feedback("hm"))


async def test_the_event_loop_is_free_while_the_model_runs(reward):
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    for _ in range(5):
        await reward.judge(make_turn(), user_says("word " * 120))
    ticking.cancel()
    assert ticks >= 5


def test_probabilities_sum_to_one_and_are_repeatable(model):
    first, second = (model.classify("Nice, but too long.") for _ in range(2))
    assert first == second
    assert sum(first) == pytest.approx(1.0, abs=1e-5)


async def test_verdicts_name_the_model_that_judged(reward, model):
    verdict = await reward.judge(make_turn(), user_says("Thanks!"))
    assert verdict.prompt_digest == model.digest
    assert len(model.digest) == 64


def test_judging_needs_no_jax():
    code = (
        "import sys; from clawjax.config import RewardConfig;"
        "from clawjax.rewards.registry import build_rewards;"
        "from clawjax.rewards.reaction_model import ReactionModel;"
        "build_rewards(RewardConfig(), env={}); ReactionModel.packaged().classify('Thanks!');"
        "sys.exit(any(name.split('.')[0] in ('jax', 'torch') for name in sys.modules))"
    )
    import subprocess

    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
