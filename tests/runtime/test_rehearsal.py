"""A dry run refuses what a start would refuse, and starts nothing."""

import json

import numpy as np
import pytest

from clawjax.config import AgentConfig, ModelConfig, RewardConfig, RunConfig, RunSection
from clawjax.errors import ConfigError, DataError
from clawjax.evals.suites import build_suite
from clawjax.models.load import open_source
from clawjax.rewards.registry import build_rewards
from clawjax.runtime.rehearsal import rehearse_agent, rehearse_data, rehearse_model
from clawjax.runtime.run import print_objective
from clawjax.weights import DirectoryWeightStore

TINY = ModelConfig(name="tiny", path="random:llama", context_length=1024)


def configured(folder, **parts) -> RunConfig:
    return RunConfig(**{"run": RunSection(dir=str(folder)), "model": TINY, **parts})


def trained_run(folder, *, base: str):
    DirectoryWeightStore(folder / "weights").publish(
        {"w": np.zeros(1, np.float32)},
        version=3,
        parent=0,
        step=3,
        base_model=base,
        kind="adapter",
        config={},
    )


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (ModelConfig(path="/nowhere"), "does not exist"),
        (ModelConfig(path="random:bert"), "bert"),
        (ModelConfig(path="random:llama", context_length=9_999_999), "9999999 is above"),
    ],
)
def test_a_model_that_cannot_be_served_is_refused(tmp_path, model, told):
    with pytest.raises(ConfigError, match=told):
        print_objective(configured(tmp_path, model=model))


def test_a_model_that_is_only_on_the_hub_is_said_not_to_be_looked_at(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    model = ModelConfig(path="nobody-at-all/no-model", context_length=4096)
    assert rehearse_model(configured(tmp_path, model=model)) is None
    assert "Not looked at: model.path=nobody-at-all/no-model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        ({"run": "/nowhere"}, "agent.run=/nowhere holds no weights"),
        ({"run": "RUN", "version": 9}, "agent.version=9 is not in .*: name one of 3 to 3"),
        ({"kind": "exploit", "exploit": "magic"}, "no exploit 'magic'"),
        ({"kind": "replay", "replay": "/nowhere"}, "has no trajectory"),
    ],
)
def test_an_agent_that_cannot_play_is_refused(tmp_path, agent, told):
    trained_run(tmp_path, base=open_source(TINY).base_id())
    agent = {key: str(tmp_path) if value == "RUN" else value for key, value in agent.items()}
    with pytest.raises(ConfigError, match=told):
        rehearse_agent(configured(tmp_path, agent=AgentConfig(**agent)), [build_suite("tau")])


def test_weights_of_another_model_are_refused_and_the_remedy_is_named(tmp_path):
    agent = AgentConfig(run=str(tmp_path))
    trained_run(tmp_path, base=open_source(TINY).base_id())
    rehearse_agent(configured(tmp_path, agent=agent), [])
    trained_run(other := tmp_path / "other", base="qwen3@0123456789ab")
    with pytest.raises(ConfigError, match=r"trained from 'qwen3@.*config\.yaml has it \(model="):
        rehearse_agent(configured(tmp_path, agent=AgentConfig(run=str(other))), [])
    base = AgentConfig(run=str(other), version=0)
    rehearse_agent(configured(tmp_path, agent=base), [])


def test_a_data_set_and_what_training_begins_with_have_to_be_there(tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    row = {"prompt": "Hello?", "chosen": "Hello.", "rejected": "What?"}
    rows.write_text(json.dumps(row) + "\n")
    config = configured(tmp_path)
    config.offline.files, config.offline.held_out = [str(rows)], 0.0
    rehearse_data(config)
    assert "1 rows of 1 files" in capsys.readouterr().out
    for name, told in (("start_from", "serves no trained version"), ("reward_model", "not exist")):
        setattr(config.offline, name, "/nowhere")
        with pytest.raises(ConfigError, match=f"offline.{name}=/nowhere .*{told}"):
            rehearse_data(config)
        setattr(config.offline, name, None)
    rows.write_text("no JSON\n")
    with pytest.raises(DataError, match=r"rows\.jsonl"):
        rehearse_data(config)


OWN = """
from clawjax.rewards.rules import RulesReward
from clawjax.config import RulesConfig

class Polite(RulesReward):
    name = "polite"

def build(config):
    return Polite(RulesConfig(max_words=9))
"""


def test_a_module_of_ones_own_goes_by_its_name(importable, capsys):
    (importable / "own_judges.py").write_text(OWN)
    modules = ["own_judges:build", "next_state"]
    config = configured(importable, reward=RewardConfig(modules, weights={"polite": 2.0}))
    print_objective(config)
    said = capsys.readouterr().out
    assert "the weighted mean of 2 polite + 1 next_state" in said
    assert config.reward.modules == modules
    by_path = RewardConfig(modules, weights={"own_judges:build": 2.0})
    with pytest.raises(ConfigError, match=r"own_judges:build, but the verdicts .* called polite, "):
        build_rewards(by_path, env={})
