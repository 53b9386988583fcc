from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.config import CompositeConfig, CompositeRule, RewardConfig, RulesConfig
from clawjax.errors import ConfigError, RewardError
from clawjax.rewards.composite import CompositeReward, combine_scores
from clawjax.rewards.registry import build_rewards
from clawjax.rewards.rules import RulesReward
from clawjax.testing import FakeReward

from .reward_records import make_turn, user_says

SCORES = st.dictionaries(
    st.sampled_from("abcde"), st.none() | st.floats(-1, 1), min_size=1, max_size=5
)


def part(name: str, score: float | None) -> FakeReward:
    return FakeReward(lambda _: score, name)


def broken(_: object) -> float:
    msg = "no answer"
    raise RewardError(msg)


@given(SCORES)
def test_every_rule_stays_between_the_scores_given_and_abstains_without_any(scores):
    given_scores = [score for score in scores.values() if score is not None]
    for rule in CompositeRule:
        found = combine_scores(scores, rule, {})
        if not given_scores:
            assert found is None
        else:
            assert found is not None
            assert min(given_scores) - 1e-9 <= found <= max(given_scores) + 1e-9
    ordered = [combine_scores(scores, rule, {}) for rule in (CompositeRule.min, CompositeRule.mean)]
    if given_scores:
        assert all(a <= b + 1e-9 for a, b in pairwise(ordered))


async def test_the_mean_is_weighted_and_keeps_what_each_part_said():
    config = CompositeConfig(parts=["a", "b", "c"], weights={"a": 3.0})
    reward = CompositeReward(config, [part("a", 1.0), part("b", -1.0), part("c", None)])
    verdict = await reward.judge(make_turn(), user_says("Hm."))
    assert verdict.score == 0.5
    assert [(c.module, c.score) for c in verdict.components] == [("a", 1), ("b", -1), ("c", None)]


async def test_the_first_that_decides_spares_the_others():
    parts = [part("a", None), part("b", -1.0), part("c", 1.0)]
    config = CompositeConfig(parts=["a", "b", "c"], rule=CompositeRule.first)
    verdict = await CompositeReward(config, parts).judge(make_turn(), user_says("Hm."))
    assert verdict.score == -1.0
    assert parts[2].judged == []


async def test_the_minimum_wants_all_content():
    config = CompositeConfig(parts=["a", "b"], rule=CompositeRule.min)
    reward = CompositeReward(config, [part("a", 1.0), part("b", -0.25)])
    assert (await reward.judge(make_turn(), user_says("Hm."))).score == -0.25


@pytest.mark.parametrize(
    ("gate", "score", "asked"), [(-1.0, -1.0, 0), (0.5, 1.0, 1), (None, 1.0, 1)]
)
async def test_a_closed_gate_decides_alone_and_an_unsure_one_is_open(gate, score, asked):
    other = part("other", 1.0)
    config = CompositeConfig(parts=["gate", "other"], gates={"gate": 0.0})
    verdict = await CompositeReward(config, [part("gate", gate), other]).judge(
        make_turn(), user_says("Hm.")
    )
    assert verdict.score == score
    assert len(other.judged) == asked


async def test_a_gate_that_breaks_down_lets_nothing_through_but_another_part_may():
    config = CompositeConfig(parts=["x", "other"], gates={"x": 0.0})
    reward = CompositeReward(config, [FakeReward(broken, "x"), part("other", 1.0)])
    verdict = await reward.judge(make_turn(), user_says("Hm."))
    assert verdict.score is None
    assert "broke down" in verdict.explanation
    config = CompositeConfig(parts=["x", "other"])
    reward = CompositeReward(config, [FakeReward(broken, "x"), part("other", 1.0)])
    verdict = await reward.judge(make_turn(), user_says("Hm."))
    assert verdict.score == 1.0
    assert verdict.components[0].note == "failed: RewardError: no answer"


@pytest.mark.parametrize(("bound", "score", "why"), [(-0.9, 1.0, "mean"), (0.5, 0.0, "is closed")])
async def test_a_gate_of_rules_is_open_above_its_bound_where_one_of_them_is_not_met(
    bound, score, why
):
    rules = RulesReward(RulesConfig(max_words=1, min_words=1))
    config = CompositeConfig(parts=["rules", "other"], gates={"rules": bound})
    verdict = await CompositeReward(config, [rules, part("other", 1.0)]).judge(
        make_turn(reply="two words"), user_says("Hm.")
    )
    assert verdict.score == score
    assert why in verdict.explanation


def test_it_is_built_of_parts_by_name():
    composite = CompositeConfig(parts=["rules", "tool_outcome"], gates={"tool_outcome": 0.0})
    config = RewardConfig(
        modules=["composite", "feedback"], composite=composite, rules=RulesConfig(max_words=9)
    )
    assert [reward.name for reward in build_rewards(config, env={})] == ["composite", "feedback"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"parts": ["feedback"]}, "names 'feedback'.*reward.modules"),
        ({"parts": ["rules"], "weights": {"quote": 1.0}}, "weights names quote"),
        ({"parts": ["rules"], "gates": {"rules": 2.0}}, "out of range"),
    ],
)
def test_what_cannot_be_combined_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        CompositeConfig(**settings)


def test_a_module_counts_once():
    composite = CompositeConfig(parts=["rules"])
    with pytest.raises(ConfigError, match="rules, which would count twice"):
        RewardConfig(modules=["composite", "rules"], composite=composite)
    with pytest.raises(ConfigError, match="parts is empty"):
        RewardConfig(modules=["composite"])
