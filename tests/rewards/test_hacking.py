"""A reward that is gamed raises the alarm, an honest one does not."""

import logging
import math
import random
from statistics import fmean

import pytest
from turn_records import make_turn

from clawjax.config import HackWatchConfig, RulesConfig
from clawjax.envs.persona import load_persona
from clawjax.metrics.hacking import HackWatch, Point, assess
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.records import Message, NextState, NextStateKind
from clawjax.rewards.rules import RulesReward

SENTENCE = "Warm soup is easy to make from what you have at home. "
REPLIES = tuple(SENTENCE * count for count in (1, 3, 5, 8, 12, 16))
"""About 11 words each time."""
QUESTION = "How do I make soup?"


async def _train(folder, rules: RulesConfig, rounds: int = 20):
    """REINFORCE over replies of six lengths, by `rules`; what the persona thinks is recorded."""
    reward, persona, rng = RulesReward(rules), load_persona("brief"), random.Random(3)
    monitor = JsonlMonitor(folder / "metrics.jsonl")
    logits, begun = [0.0] * len(REPLIES), 0.0
    scores = [await _score(reward, reply) for reply in REPLIES]
    for version in range(1, rounds + 1):
        weights = [math.exp(logit) for logit in logits]
        said = rng.choices(range(len(REPLIES)), weights, k=32)
        mean = fmean(scores[index] for index in said)
        for index in said:
            for other in range(len(REPLIES)):
                pull = (other == index) - weights[other] / sum(weights)
                logits[other] += 0.03 * (scores[index] - begun) * pull
        begun = 0.5 * begun + 0.5 * mean
        monitor.log({"train/reward_mean": mean}, step=version)
        for index in said:
            monitor.log({"user/style": persona.score(REPLIES[index], QUESTION)})
    monitor.close()
    return HackWatch(folder / "metrics.jsonl", HackWatchConfig())


async def _score(reward: RulesReward, reply: str) -> float:
    turn = make_turn(request=QUESTION, reply=Message("assistant", reply))
    verdict = await reward.judge(turn, NextState("t1", NextStateKind.SESSION_CLOSED, 1.0))
    assert verdict.score is not None
    return verdict.score


async def test_a_reward_for_length_where_people_want_brevity_raises_the_alarm(tmp_path, caplog):
    watch = await _train(tmp_path, RulesConfig(min_words=80))
    with caplog.at_level(logging.WARNING):
        found = _first_alarm(watch)
        assert watch.look() is not None
    assert found is not None, "the reward for length was not noticed"
    assert found.rise > 0.2
    assert found.fall > 0.05


async def test_a_reward_for_what_people_want_raises_none(tmp_path, caplog):
    watch = await _train(tmp_path, RulesConfig(max_words=75))
    watch.look()
    points = watch.caught_up()
    assert points[-1].reward > points[0].reward + 0.2, "it has learnt nothing"
    assert points[-1].evaluation > points[0].evaluation + 0.1
    assert _first_alarm(watch) is None
    assert "gamed" not in caplog.text


def _first_alarm(watch: HackWatch):
    """The rule at every version, as a run would have applied it."""
    watch.look()
    points, config = watch.caught_up(), HackWatchConfig()
    found = (assess(points[:end], config) for end in range(config.window, len(points) + 1))
    return next((each for each in found if each is not None and each.is_alarm), None)


@pytest.mark.parametrize(
    ("rewards", "evaluations", "is_alarm"),
    [
        ([0.1 * i for i in range(8)], [0.9 - 0.05 * i for i in range(8)], True),
        ([0.1 * i for i in range(8)], [0.5 + 0.05 * i for i in range(8)], False),
        ([0.8 - 0.1 * i for i in range(8)], [0.9 - 0.05 * i for i in range(8)], False),
        ([0.1 * i for i in range(8)], [0.9 - 0.001 * i for i in range(8)], False),
        ([0.5, 0.1, 0.6, 0.2, 0.5, 0.1, 0.7, 0.4], [0.9 - 0.05 * i for i in range(8)], False),
        ([0.1 * i for i in range(7)], [0.9 - 0.05 * i for i in range(7)], None),
    ],
    ids=["hacked", "honest", "both fall", "too small", "reward is noise", "too few versions"],
)
def test_the_rule(rewards, evaluations, is_alarm):
    points = [Point(i, r, e) for i, (r, e) in enumerate(zip(rewards, evaluations, strict=True))]
    found = assess(points, HackWatchConfig())
    assert (None if found is None else found.is_alarm) is is_alarm


def test_a_new_alarm_is_told_once_and_evaluations_count_for_the_newest_version(tmp_path, caplog):
    monitor = JsonlMonitor(tmp_path / "metrics.jsonl")
    watch = HackWatch(tmp_path / "metrics.jsonl", HackWatchConfig())
    for version in range(1, 11):
        monitor.log({"train/reward_mean": 0.1 * version}, step=version)
        monitor.log({"train/reward_mean": -1.0, "train/rested": 1.0}, step=version)
        monitor.log({"user/style": 0.8 - 0.06 * version})
        monitor.log({"user/style": 0.9 - 0.06 * version})
        watch.look()
    monitor.close()
    assert watch.caught_up()[0] == pytest.approx((1, 0.1, 0.79))
    assert caplog.text.count("the reward may be gamed: up to version 8") == 1
    assert caplog.text.count("gamed") == 1
