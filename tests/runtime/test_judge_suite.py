import json

import pytest

from clawjax.config import LlmJudgeConfig, RewardConfig, RulesConfig, RunConfig, SuiteConfig
from clawjax.errors import ConfigError, EvalError
from clawjax.runtime.judge_suite import (
    JudgeOptions,
    judge_modules,
    run_judge_suite,
    suite_turns,
)


def configured(folder, *modules: str, **options) -> RunConfig:
    config = RunConfig(reward=RewardConfig(modules=list(modules)))
    config.run.dir = str(folder)
    config.suite = SuiteConfig(name="judge", options=options)
    return config


def test_modules_are_measured_on_what_they_judge_and_the_table_is_kept(tmp_path):
    (row,) = run_judge_suite(configured(tmp_path, "tool_outcome", "feedback", "quote"))
    assert (row["module"], row["turns"], row["failed"]) == ("tool_outcome", 30, 0)
    assert row["by_group"].keys() == {"tool"}
    assert row["accuracy"]["value"] >= 0.9
    assert row["neutral_scored"]["value"] <= 0.1
    assert row["cost"] is None
    score = json.loads((tmp_path / "score.json").read_text())["score"]
    assert score == row["kappa"]["value"], "a sweep goes by it"
    assert json.loads((tmp_path / "judge.json").read_text())[0]["module"] == "tool_outcome"
    assert "| tool_outcome | 30 |" in (tmp_path / "results.md").read_text()


def test_what_gives_no_scores_is_refused_and_options_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="gives no scores"):
        run_judge_suite(configured(tmp_path, "quote", "feedback"))
    with pytest.raises(ConfigError, match=r"suite\.options\.atacks is unknown"):
        run_judge_suite(configured(tmp_path, "tool_outcome", atacks=3))


def test_a_limit_takes_turns_of_all_groups():
    turns = suite_turns(JudgeOptions(attacks=2, padded=2), limit=40)
    assert len([turn for turn in turns if turn.twin_of is None]) == 40
    assert {turn.group for turn in turns} >= {"reaction", "tool", "persona", "injection"}


async def test_what_fails_is_counted_and_a_rule_that_is_not_met_is_no_failure(monkeypatch):
    turns = suite_turns(JudgeOptions(attacks=2, padded=2), limit=20)
    rules = RulesConfig(max_words=1, min_words=1)
    (row,) = await judge_modules(RewardConfig(["rules"], rules=rules), turns, env={})
    assert row["asked"] > 0
    assert row["failed"] == 0

    def breaks(text: str) -> int:
        msg = "cannot count"
        raise ValueError(msg)

    monkeypatch.setattr("clawjax.rewards.rules.count_words", breaks)
    (row,) = await judge_modules(RewardConfig(["rules"], rules=rules), turns, env={})
    assert row["failed"] == row["asked"]


def test_a_judge_that_is_away_is_not_measured(tmp_path):
    config = configured(tmp_path, "llm_judge", attacks=1, padded=1, per_persona=1)
    config.suite.limit = 3
    config.reward.llm_judge = LlmJudgeConfig(base_url="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(EvalError, match=r"llm_judge gave no verdict on any .*127\.0\.0\.1:9"):
        run_judge_suite(config)
    assert not (tmp_path / "score.json").exists()
    assert json.loads((tmp_path / "judge.json").read_text())[0]["failed"] > 0
