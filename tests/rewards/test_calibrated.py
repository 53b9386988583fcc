"""Judges corrected by a calibration file, from the file to the verdicts in the log."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest
from turn_records import make_turn

from clawjax.cli import main
from clawjax.config import CompositeConfig, CompositeRule, LlmJudgeConfig, RewardConfig
from clawjax.errors import ConfigError, JudgeAwayError
from clawjax.log.store import SqlTurnLog
from clawjax.records import Component, Verdict
from clawjax.review.calibration import Calibration, calibrate
from clawjax.review.label import Label
from clawjax.review.queue import ReviewQueue
from clawjax.rewards.calibrated import CalibratedReward, bare, calibrated
from clawjax.rewards.llm_judge import LlmJudgeReward
from clawjax.rewards.registry import build_rewards
from clawjax.rewards.worker import CURSOR, JudgeWorker
from clawjax.testing import FakeReward, temporary_log
from clawjax.verdicts import combine

from .reward_records import feedback, session_closed, user_says
from .worker_runs import link, running, until

FLATTERED = Calibration(0.5, -1.0)


@pytest.fixture
def own(monkeypatch) -> ModuleType:
    """Judges of the user's own, importable as `own_rewards`."""
    module = ModuleType("own_rewards")
    module.flatters = lambda _: FakeReward(lambda _: 1.0, "flatters")
    module.unsure = lambda _: FakeReward(lambda _: None, "unsure")
    module.wrong = lambda _: Wrong(lambda _: 1.0, "wrong")
    monkeypatch.setitem(sys.modules, "own_rewards", module)
    return module


class Wrong(FakeReward):
    """Gives a score that nobody may give."""

    async def judge(self, turn, next_state):
        return Verdict(turn.turn_id, self.name, 3.0, 1.0)


def calibration_file(folder: Path, **modules: Calibration) -> str:
    told = {name: calibration._asdict() for name, calibration in modules.items()}
    file = folder / f"{'-'.join(modules)}.json"
    file.write_text(json.dumps({"format": "clawjax.calibration/1", "modules": told}))
    return str(file)


async def judge_all(log: SqlTurnLog, config: RewardConfig) -> Mapping[str, Mapping[str, Verdict]]:
    """Run the configured judges over a log, and read what they wrote."""
    rewards = build_rewards(config, env={})
    end = max(linked.seq for linked in log.linked(after=0, limit=1000))
    async with running(JudgeWorker(log, rewards, config, poll_s=0.05)):
        await until(lambda: log.cursor(CURSOR) >= end)
    turns = {linked.turn.turn_id for linked in log.linked(after=0, limit=1000)}
    found = [judged for name in turns if (judged := log.get(name)) is not None]
    return {each.turn.turn_id: {v.module: v for v in each.verdicts} for each in found}


async def test_scores_are_corrected_before_they_count_and_stay_on_record(own, tmp_path):
    log = temporary_log(tmp_path)
    link(log, "a")
    log.append(feedback(score=1.0, turn_id="a"))
    modules = ["own_rewards:flatters", "own_rewards:unsure", "feedback"]
    file = calibration_file(tmp_path, flatters=FLATTERED, unsure=FLATTERED)
    found = (await judge_all(log, RewardConfig(modules=modules, calibration_file=file)))["a"]
    log.close()
    corrected = math.tanh(0.5 * math.atanh(0.98) - 0.5)
    assert found["flatters"].score == pytest.approx(corrected)
    assert found["flatters"].components == (
        Component("flatters.uncalibrated", 1.0, "slope 0.5, bias -1"),
    )
    assert (found["unsure"].score, found["unsure"].components) == (None, ())
    assert (found["feedback"].score, found["feedback"].components) == (1.0, ())
    assert combine([found["flatters"], found["unsure"]], {}) == pytest.approx(corrected)
    assert combine(list(found.values()), {}) == 1.0


async def test_people_s_labels_end_in_the_verdicts_of_the_next_run(own, tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in ((first, [f"t{number}" for number in range(12)]), (second, ["new"])):
        folder.mkdir()
        log = temporary_log(folder)
        link(log, *names)
        log.close()
    config = RewardConfig(modules=["own_rewards:flatters"])
    log = temporary_log(first)
    await judge_all(log, config)
    queue = ReviewQueue(log, lease_s=60.0)
    for number in range(12):
        queue.give(Label(f"t{number}", "anna", -1.0 if number % 4 else 1.0, 200.0))
    log.close()
    file = tmp_path / "calibration.json"
    assert main(["review", str(first), "--calibrate", str(file)]) == 0
    assert "flatters             12" in capsys.readouterr().out

    log = temporary_log(second)
    config = RewardConfig(modules=["own_rewards:flatters"], calibration_file=str(file))
    verdict = (await judge_all(log, config))["new"]["flatters"]
    assert verdict.score is not None
    assert -0.5 < verdict.score < 0.2
    queue = ReviewQueue(log, lease_s=60.0)
    queue.give(Label("new", "anna", -1.0, 200.0))
    log.close()
    again = tmp_path / "again.json"
    assert main(["review", str(second), "--calibrate", str(again)]) == 0
    told = json.loads(again.read_text())["modules"]["flatters"]
    assert told["log_loss_before"] > 4  # by what it said itself: it was certain


async def test_parts_are_corrected_before_they_are_combined(own, tmp_path):
    composite = CompositeConfig(
        parts=["own_rewards:unsure", "own_rewards:flatters"], rule=CompositeRule.first
    )
    file = calibration_file(tmp_path, flatters=FLATTERED)
    config = RewardConfig(modules=["composite"], composite=composite, calibration_file=file)
    log = temporary_log(tmp_path)
    link(log, "a")
    verdict = (await judge_all(log, config))["a"]["composite"]
    log.close()
    assert verdict.score == pytest.approx(calibrate(1.0, FLATTERED))
    assert [(each.module, each.score) for each in verdict.components] == [
        ("unsure", None),
        ("flatters", verdict.score),
        ("flatters.uncalibrated", 1.0),
    ]


async def test_the_digest_tells_calibrations_apart(own, tmp_path):
    digests = set()
    for calibration in (None, FLATTERED, Calibration(0.5, -0.9)):
        file = calibration_file(tmp_path, flatters=calibration) if calibration else None
        config = RewardConfig(modules=["own_rewards:flatters"], calibration_file=file)
        (reward,) = build_rewards(config, env={})
        digests.add((await reward.judge(make_turn(), user_says("hm"))).prompt_digest)
    assert len(digests) == 3
    verdict = Verdict("t", "m", 0.5, 1.0, prompt_digest="a")
    other = Verdict("t", "m", None, 1.0, prompt_digest="b")
    told = {calibrated(each, FLATTERED).prompt_digest for each in (verdict, other)}
    assert len(told) == 2
    assert not told & {"a", "b"}


def test_a_small_score_is_no_abstention():
    verdict = calibrated(Verdict("t", "m", 0.01, 1.0), Calibration(0.1, 0.0))
    assert verdict.score == pytest.approx(0.001, rel=0.01)


async def test_a_score_that_nobody_may_give_is_refused_as_ever(own, tmp_path):
    log = temporary_log(tmp_path)
    link(log, "a")
    file = calibration_file(tmp_path, wrong=FLATTERED)
    config = RewardConfig(modules=["own_rewards:wrong"], calibration_file=file)
    verdict = (await judge_all(log, config))["a"]["wrong"]
    log.close()
    assert verdict.score is None
    assert "3.0 is outside [-1, 1]" in verdict.explanation


def test_words_given_as_feedback_are_read_without_the_correction_of_reactions(tmp_path):
    file = calibration_file(tmp_path, next_state=FLATTERED)
    config = RewardConfig(modules=["next_state", "feedback"], calibration_file=file)
    next_state, given = build_rewards(config, env={})
    assert isinstance(next_state, CalibratedReward)
    assert not isinstance(given, CalibratedReward)


async def test_a_corrected_judge_is_away_when_its_endpoint_is(tmp_path):
    file = calibration_file(tmp_path, llm_judge=FLATTERED)
    settings = LlmJudgeConfig(base_url="http://127.0.0.1:9/v1", retries=0, votes=1)
    config = RewardConfig(modules=["llm_judge"], llm_judge=settings, calibration_file=file)
    (reward,) = build_rewards(config, env={})
    assert isinstance(reward, CalibratedReward)
    assert isinstance(bare(reward), LlmJudgeReward)
    assert not reward.applies(make_turn(), session_closed())
    with pytest.raises(JudgeAwayError):
        await reward.judge(make_turn(), user_says("hm"))
    assert (reward.answered, reward.is_away) == (0, True)
    await reward.aclose()
    local = CalibratedReward(FakeReward(lambda _: 1.0), FLATTERED)
    assert (local.answered, local.is_away) == (0, False)


def test_a_missing_file_or_one_of_other_modules_is_refused_at_the_start(tmp_path):
    missing = RewardConfig(modules=["next_state"], calibration_file=str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match=r"reward\.calibration_file=.*none\.json cannot be read"):
        build_rewards(missing, env={})
    file = calibration_file(tmp_path, llm_judge=FLATTERED)
    with pytest.raises(ConfigError, match="is of llm_judge, none of which judges with"):
        build_rewards(RewardConfig(modules=["next_state"], calibration_file=file), env={})
