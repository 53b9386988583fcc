import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turn_records import make_turn

from clawjax.config import (
    HUMAN,
    CompositeConfig,
    CompositeRule,
    HumanConfig,
    RewardConfig,
    RulesConfig,
    StepAspect,
)
from clawjax.errors import ConfigError, RewardError
from clawjax.records import Component, Verdict
from clawjax.review.calibration import pairs_of
from clawjax.review.reasons import reasons_of
from clawjax.review.steps import process_score
from clawjax.rewards.composite import CompositeReward, combine_scores, time_limit_s
from clawjax.rewards.registry import build_rewards
from clawjax.rewards.rules import RulesReward
from clawjax.rewards.worker import CURSOR, JudgeWorker
from clawjax.testing import FakeReward, temporary_log

from .reward_records import user_says
from .worker_runs import link, running, until

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


@pytest.mark.parametrize(
    ("rule", "gates", "score"),
    [("mean", {}, 0.5), ("first", {}, 0.5), ("min", {}, 0.5), ("mean", {"x": 0.0}, None)],
)
async def test_a_part_that_breaks_down_when_asked_whether_it_applies_is_one_that_broke_down(
    rule, gates, score
):
    class Picky(FakeReward):
        def applies(self, turn, next_state):
            raise KeyError(turn.turn_id)

    config = CompositeConfig(parts=["x", "other"], rule=CompositeRule(rule), gates=gates)
    reward = CompositeReward(config, [Picky(lambda _: 1.0, "x"), part("other", 0.5)])
    assert reward.applies(make_turn(), user_says("Thanks!"))
    verdict = await reward.judge(make_turn(), user_says("Thanks!"))
    assert verdict.score == score
    assert verdict.components[0] == Component("x", None, "failed: KeyError: 't1'")


async def test_what_breaks_a_part_is_logged_without_the_words_of_its_error(caplog):
    def quotes(_: object) -> float:
        raise ValueError("xylophone, said the user")

    config = CompositeConfig(parts=["a", "b"])
    reward = CompositeReward(config, [FakeReward(quotes, "a"), part("b", 1.0)])
    await reward.judge(make_turn(), user_says("Hm."))
    assert "a on turn" in caplog.text
    assert not any("xylophone" in record.getMessage() for record in caplog.records)


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


class Saying:
    """A part that says the same of every turn."""

    def __init__(self, name: str, **said) -> None:
        self.name = name
        self._said = {"score": None, "judged_at": 0.0, **said}

    def applies(self, turn, next_state) -> bool:
        return True

    async def judge(self, turn, next_state) -> Verdict:
        return Verdict(turn.turn_id, self.name, **self._said)

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("score", [0.5, None])
async def test_what_parts_label_of_a_step_counts_as_that_of_modules(score):
    labels = tuple(-1.0 if aspect is StepAspect.PROGRESS else None for aspect in StepAspect)
    others = tuple(1.0 for _ in StepAspect)
    process = Saying("process", score=score, step_labels=labels)
    for parts in ([process], [part("a", 1.0), process], [process, Saying("b", step_labels=others)]):
        config = CompositeConfig(parts=[each.name for each in parts])
        verdict = await CompositeReward(config, parts).judge(make_turn(), user_says("Hm."))
        modules = [await each.judge(make_turn(), user_says("Hm.")) for each in parts]
        assert process_score([verdict], {}) == process_score(modules, {})
    assert process_score([verdict], {}) == pytest.approx(4 / 6)
    plain = CompositeReward(CompositeConfig(parts=["a"]), [part("a", 1.0)])
    assert (await plain.judge(make_turn(), user_says("Hm."))).step_labels == ()


@pytest.mark.parametrize(("deviation", "reasons"), [(0.3, ["ensemble disagrees"]), (0.1, [])])
async def test_people_are_asked_about_parts_whose_members_disagree(deviation, reasons):
    components = (Component("probability", 0.2), Component("disagreement", deviation))
    ensemble = Saying("reward_model", components=components)
    config = CompositeConfig(parts=["reward_model", "a"])
    reward = CompositeReward(config, [ensemble, part("a", 1.0)])
    verdict = await reward.judge(make_turn(), user_says("Hm."))
    alone = await ensemble.judge(make_turn(), user_says("Hm."))
    people = HumanConfig(audit_share=0.0)
    assert list(reasons_of("t1", [verdict], people)) == reasons
    assert list(reasons_of("t1", [alone], people)) == reasons
    pairs = pairs_of([(verdict, Verdict("t1", HUMAN, 1.0, 0.0))])
    assert list(pairs) == ["a"], "no judge's score"


class Endless(FakeReward):
    async def judge(self, turn, next_state):
        await asyncio.Event().wait()
        return await super().judge(turn, next_state)


@pytest.mark.parametrize("rule", list(CompositeRule))
async def test_a_part_that_takes_too_long_takes_no_time_of_the_others(tmp_path, rule):
    log = temporary_log(tmp_path)
    link(log, "a")
    parts = [Endless(lambda _: 1.0, "x"), Endless(lambda _: 1.0, "y"), part("z", 0.5)]
    config = CompositeConfig(parts=["x", "y", "z"], rule=rule)
    reward = CompositeReward(config, parts, timeout_s=0.2)
    worker = JudgeWorker(log, [reward], RewardConfig(judge_timeout_s=0.2))
    async with running(worker):
        await until(lambda: log.cursor(CURSOR) >= 1)
    (judged,) = log.judged(limit=9)
    (verdict,) = judged.verdicts
    assert verdict.score == 0.5
    assert [each.note for each in verdict.components][:2] == ["failed: no verdict within 0.2 s"] * 2


def test_its_parts_have_the_time_that_a_module_has():
    composite = CompositeConfig(parts=["quote", "tool_outcome"], rule=CompositeRule.first)
    config = RewardConfig(modules=["composite"], composite=composite, judge_timeout_s=90.0)
    (built,) = build_rewards(config, env={})
    assert isinstance(built, CompositeReward)
    assert 180.0 < time_limit_s(built, 90.0) < 190.0
    assert time_limit_s(part("a", 1.0), 90.0) == 90.0


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
