"""Every configuration that ships composes, and mistakes are named."""

import json
import re
import sys
from itertools import product
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from clawjax.cli.run_config import kept_config
from clawjax.config import (
    METHODS,
    UNTRAINED,
    CompositeConfig,
    RewardConfig,
    RunConfig,
    RunSection,
    UserConfig,
    hydra_schema,
    to_run_config,
)
from clawjax.config.overrides import path_override
from clawjax.config.secrets import find_secret
from clawjax.errors import ConfigError
from clawjax.runtime.build import open_log
from clawjax.runtime.child import encode_config
from clawjax.runtime.provenance import config_yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

import evaluate

CONF = Path(__file__).parents[1] / "conf"
FOLDERS = {path.name for path in CONF.iterdir() if path.is_dir()}
GROUPS = sorted(FOLDERS - {"local", "hydra", "sweep"})  # those two are no part of a run
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
VARIANTS = [
    f"{group}={path.stem}"
    for group in GROUPS
    if group != "experiment"
    for path in sorted((CONF / group).glob("*.yaml"))
]

NEEDS = {"objective=combined": ["learner.drift.max_step_reply_kl=4"]}
"""What a variant asks of other groups."""


def load(*overrides: str, file: str = "config") -> RunConfig:
    ConfigStore.instance().store(name="schema", node=hydra_schema())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(file, [*overrides, "run.dir=/tmp/run"])
    assert find_secret(OmegaConf.to_container(config, resolve=False)) is None
    return to_run_config(config)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in UNTRAINED])
def test_methods_of_the_personal_suite_compose(method):
    chosen = ("suite=personal", f"objective={method}", "run.name=x")
    assert load(*chosen, file="evaluate").objective.name in ("sft", "opd", "binary_rl", "combined")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_compose(name):
    assert load(f"experiment={name}").run.name


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_compose(variant, monkeypatch):
    monkeypatch.setenv("CLAWJAX_LOG_URL", "postgresql://127.0.0.1/x")
    load(variant, *NEEDS.get(variant, ()))


def test_methods_are_configured_as_the_page_says():
    page = (CONF.parent / "docs" / "objectives.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| `(\w+)` \| `([^`]+)`", page, re.MULTILINE)
    assert len(rows) == 7
    for name, settings in rows:
        told = [f"objective.{setting}" for setting in settings.split()]
        assert load(f"objective={name}", *told).objective == load(f"objective={name}").objective


@pytest.mark.parametrize("name", ["plain", "é (1)", "a=b,c", "[x]#y z", "it's", "\\", "a\\'b\\c"])
def test_a_folder_may_be_called_anything(name):
    text = path_override("run.dir", f"/runs/{name}")
    assert OverridesParser.create().parse_override(text).value() == f"/runs/{name}"
    assert ("'" in text) == (name != "plain")  # programs of one's own read plain names as they are


def test_a_suite_that_is_listed_is_read_in_a_folder_called_anything(monkeypatch):
    def named(name, overrides):  # by Hydra, in a program
        return compose(name, [*overrides, "run.name=x"])

    monkeypatch.setattr(evaluate, "compose", named)
    ConfigStore.instance().store(name="schema", node=hydra_schema())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        where = path_override("run.dir", "/runs/é (1), it's")
        config = to_run_config(named("evaluate", ["suite=quick", where]))
        assert evaluate._part("tau", config).name == "tau"


def test_a_runs_user_is_not_whom_the_personal_suite_measures():
    config = RunConfig(run=RunSection(dir="runs/x"), user=UserConfig(persona="mine.yaml"))
    with pytest.raises(ConfigError, match=r"by suite\.personas=\[mine\.yaml\]"):
        evaluate._personal(config)


def test_what_the_suite_measures_can_be_served():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        where = ["run.dir=/tmp/run", "run.name=measured"]
        measured = to_run_config(compose("evaluate", ["objective=combined", *where]))
    served = load("experiment=combined")
    for group in ("learner", "objective", "reward"):
        assert getattr(served, group) == getattr(measured, group)
    assert load("experiment=combined", "learner.learning_rate=1e-3").learner.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("root", "overrides", "length"),
    [
        ("config", [], 2048),
        ("evaluate", [], 1024),
        ("evaluate", ["suite=tau"], 2048),
        ("evaluate", ["suite=quick", "model=qwen3_4b"], 16384),
        ("evaluate", ["experiment=gpu_24gb"], 4096),
        ("train_offline", ["objective=dpo", "model=qwen3_4b"], 16384),
    ],
)
def test_the_context_is_the_models_but_for_short_conversations(root, overrides, length):
    ConfigStore.instance().store(name="schema", node=hydra_schema())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        where = ["run.dir=/tmp/run", "run.name=x"]
        config = to_run_config(compose(root, [*overrides, *where]))
    assert config.model.context_length == length


def test_an_experiment_wins_over_the_groups_it_overrides():
    config = load("experiment=tiny_demo")
    assert (config.model.path, config.user.held_out, config.gateway.port) == ("random:llama", 8, 0)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_an_experiment_says_of_learning_counts_where_it_is_measured_too(name):
    said = OmegaConf.load(CONF / "experiment" / f"{name}.yaml").get("learner", {})
    chosen = f"experiment={name}"
    run = load(chosen)
    measured = load(chosen, "suite=tau", "run.name=x", file="evaluate")
    for key in said:
        assert getattr(measured.learner, key) == getattr(run.learner, key), key


def test_the_command_line_wins_over_an_experiment():
    assert load("experiment=tiny_demo", "user.held_out=3").user.held_out == 3


def test_side_requests_can_be_added_and_switched_off_by_name():
    config = load(
        "+gateway.linking.side_users.mine='Name this chat'",
        "gateway.linking.side_users.compaction=''",
    ).gateway.linking
    assert config.side_users["mine"] == "Name this chat"
    assert config.side_users["compaction"] == ""
    assert "openclaw heartbeat" in config.side_users


def test_a_suites_own_options_are_set_like_any_other():
    sites = 'suite.options.sites={shopping: "http://host:7770", reddit: "http://host:9999"}'
    suite = load("suite=webarena", sites, "suite.options.states=.auth").suite
    assert suite.options == {
        "sites": {"shopping": "http://host:7770", "reddit": "http://host:9999"},
        "states": ".auth",
    }
    assert (
        load("suite=miniwob", "suite.options.tasks=scripted").suite.options["tasks"] == "scripted"
    )


@pytest.mark.parametrize("typo", ["learner.bach_turns=1", "model.pth=x", "user.hold_out=1"])
def test_a_typo_is_named(typo):
    key = typo.split("=")[0].split(".")[1]
    with pytest.raises(ConfigCompositionException) as caught:
        load(typo)
    assert key in str(caught.value.__cause__ or caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learner.min_turns=99", "learner.min_turns=99 must be between 1 and"),
        ("model.context_length=1", "the minimum is 64"),
        ("objective.ratio_cap=1.0", "objective.ratio_cap=1.0 truncates inside the clip range"),
        ("objective.ratio_cap=1.28", "complaints learn by halves: set it above 1 + clip_high = 1."),
        ("objective.w_opd=0.5", "objective.name=binary_rl does not use objective.w_opd"),
        ("objective.policy_loss=reinforce", "objective.off_policy.preset=none corrects nothing"),
        ("objective.policy_loss=sft", "objective.policy_loss=sft do not go together"),
        ("objective.dpo.beta=0", "objective.dpo.beta=0.0 tells no two replies apart"),
        ("objective.dpo.label_smoothing=0.5", "objective.dpo.label_smoothing=0.5 is out of range"),
        ("learner.learning_rate=inf", "learner.learning_rate=inf is no number to multiply with"),
        ("objective.kl_coef=inf", "objective.kl_coef=inf is no number"),
        ("+reward.weights.rules=inf", "reward.weights.rules=inf is no number"),
        ("suite.methods=[magic]", "suite.methods names 'magic'"),
        ("suite.seeds=[0,1,0]", "suite.seeds=[0, 1, 0] names one twice"),
        ("suite.limits.turns=0", "suite.limits.turns=0 is too small: use 1 or more, or null"),
        ("+reward.weights.feedback=0", "feedback overrules the mean of the others: leave it out"),
        ("+reward.weights.quote=2", "reward.weights.quote=2 would do nothing, as quote gives no"),
        ("objective.practice.min_scored=129", "min_scored=129 is never reached, as the newest 128"),
        ("objective.practice.min_of_each=65", "are remembered: use 64 at most"),
        ("objective.practice.listen=129", "objective.practice.listen=129 is never reached"),
        ("+reward.weights.rules=-1", "reward.weights.rules=-1.0 is too small"),
        ("objective.dual_clip=1.1", "objective.dual_clip=1.1 needs objective.policy_loss=clipped"),
        ("objective.dual_clip=3", "objective.ratio_cap=2.0 truncates the ratio before"),
        ("learner.drift.eases=true", "learner.drift.eases=true eases no bound"),
        ("objective.off_policy.high=0.9", "leaves out 1"),
        ("reward.modules=[quote]", "objective=binary_rl learns from scores"),
        ("objective.name=ppo", "objective.name='ppo' is unknown"),
        ("engine.max_response_tokens=4000", "leaves no room"),
        ("gateway.port=70000", "out of range"),
        ("learner.method=qlora", "use lora or full"),
        ("reward.modules=[]", "reward.modules is empty"),
        ("learner.max_tokens=4096", "add a bucket or lower max_tokens"),
        ("learner.length_buckets=[2048,512]", "have to ascend"),
        ("learner.micro_batch_tokens=0", "the minimum is 1"),
        ("engine.live_buckets=[0]", "the minimum is 1"),
        ("reward.max_concurrency=0", "the minimum is 1"),
        ("user.max_turns=0", "the minimum is 1"),
        ("run.max_restarts=-1", "the minimum is 0"),
        ("monitor.interval_s=0", "the minimum is 0.1"),
    ],
)
def test_values_that_cannot_run_say_why(override, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(override)


@pytest.mark.parametrize(
    ("objective", "idle", "message"),
    [
        ("opd", "negative_weight=0.25", "which objective.name=opd does not have"),
        ("dpo", "negative_weight=0.25", "which objective.name=dpo does not have"),
        ("sft", "negative_weight=0.25", "which objective.name=sft does not have"),
        ("opd_topk", "off_policy.preset=tis", "objective.off_policy.preset=tis is for: use none"),
        ("opd_topk", "policy_loss=gspo", "objective.policy_loss=gspo is for: use clipped"),
        ("opd_topk", "opd.max_difference=0.01", "objective.opd.max_difference=0.01 bounds what"),
        ("opd", "opd.support=teacher", "objective.opd.support=teacher is of objective.opd.form"),
        ("opd_praise", "opd.hint_choice=first", "objective.opd.hint_choice=first has nothing"),
    ],
)
def test_what_would_change_nothing_is_refused(objective, idle, message):
    modules = ("reward.modules=[next_state,quote]", f"objective={objective}")
    assert load(*modules).objective
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(*modules, f"objective.{idle}")


@pytest.mark.parametrize("setting", ["demonstrations=4", "corrects_praised=false"])
def test_what_goes_by_praise_needs_something_that_praises(setting):
    chosen = ("objective=opd", f"objective.opd.{setting}")
    assert load(*chosen).objective.name == "opd"
    with pytest.raises(ConfigError, match=f"{setting} goes by whether a reply was praised"):
        load(*chosen, "reward.modules=[quote]")


def test_a_cap_of_weights_has_no_clip_range_to_be_beyond():
    assert load("objective=cispo", "objective.ratio_cap=1.1").objective.ratio_cap == 1.1
    with pytest.raises(ConfigError, match=r"objective\.ratio_cap=0\.9 is too small"):
        load("objective=cispo", "objective.ratio_cap=0.9")


def test_a_bound_for_complaints_needs_something_that_complains():
    modules = ("reward.modules=[quote]", "objective=opd_topk", "objective.ratio_cap=4")
    with pytest.raises(ConfigError, match=r"objective\.dual_clip=3\.0 is for: use null"):
        load(*modules, "objective.dual_clip=3")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("objective.policy_loss=clipped", "objective.policy_loss=clipped: use reinforce"),
        ("objective.policy_loss=sft", "objective.policy_loss=sft: use reinforce"),
        ("objective.off_policy.preset=tis", "objective.off_policy.preset=tis: use none"),
        ("objective.normalisation=turn_mean", "objective.normalisation=turn_mean: use turn_sum"),
        ("objective.w_opd=1", "objective.name=dpo does not use objective.w_opd"),
        ("objective.dual_clip=3", "needs objective.policy_loss=clipped"),
        ("reward.modules=[quote]", "objective=dpo learns from scores"),
        ("learner.mini_batch_turns=4", "learner.mini_batch_turns=4 divides: set it to null"),
        ("learner.epochs=2", "set learner.epochs=2 to 1"),
    ],
)
def test_what_would_change_the_loss_of_pairs_is_refused(override, message):
    assert load("objective=dpo").objective.is_dpo
    with pytest.raises(ConfigError, match=re.escape(message)):
        load("objective=dpo", override)


@pytest.mark.parametrize("name", ["llm_judge", "hindsight", "constitution", "composite"])
def test_a_judge_that_hangs_is_given_up_by_the_question_first(name):
    parts = CompositeConfig(parts=["llm_judge"] if name == "composite" else [])
    with pytest.raises(ConfigError, match=r"less than reward\.judge_timeout_s=60 where"):
        RewardConfig([name], judge_timeout_s=60.0, composite=parts)
    RewardConfig([name], judge_timeout_s=60.5, composite=parts)
    RewardConfig(["rules"], judge_timeout_s=1.0)


def test_hints_are_needed_where_they_are_learnt_from():
    with pytest.raises(ConfigError, match="objective=opd learns from hints, which none of"):
        load("objective=opd", "reward.modules=[next_state]")


def test_a_share_of_a_bound_that_is_not_set_is_refused():
    with pytest.raises(ConfigError) as caught:
        load("objective=combined")
    message = str(caught.value)
    fixes = ("learner.drift.max_step_reply_kl=4", "objective.practice.blind_share=null")
    assert message.startswith("objective.practice.blind_share=0.1 is a share of learner.drift.")
    for fix in (*fixes, "experiment=combined"):
        assert fix in message
    assert load("experiment=combined").learner.drift.max_step_reply_kl is not None
    for fix in (*fixes, "objective.practice.rounds=0"):
        assert load("objective=combined", fix).objective.name == "combined"


def test_a_wrong_type_is_named():
    with pytest.raises(ConfigError, match="batch_turns"):
        to_run_config({"run": {"dir": "x"}, "learner": {"batch_turns": "many"}})


def test_a_configuration_survives_the_way_to_a_child_process():
    config = load("experiment=personal_demo")
    assert to_run_config(OmegaConf.create(encode_config(config))) == config


def test_texts_like_interpolations_are_the_same_wherever_they_are_sent_and_kept():
    """`must_not_match='\\${name}'` ended the run once it had its lock."""
    pieces = ["\\", "$", "{", "}", "${", "${name}", "'", " é\n"]
    texts = ["".join(each) for length in (1, 2, 3) for each in product(pieces, repeat=length)]
    config = RunConfig(run=RunSection(dir="/tmp/run"))
    config.reward.rules.must_not_match = "\\${name}"
    config.synthesis.personas = texts
    config.suite.options = {"a": {"b": ["${name}", 1, None, 0.5]}}
    assert to_run_config(json.loads(encode_config(config))) == config
    assert to_run_config(OmegaConf.create(config_yaml(config))) == config


def test_what_is_escaped_on_the_command_line_is_a_text_from_then_on(tmp_path):
    config = load(r"reward.rules.must_not_match='\${name}'")
    assert config.reward.rules.must_not_match == "${name}"
    assert to_run_config(json.loads(encode_config(config))) == config
    (tmp_path / "config.yaml").write_text(config_yaml(config))
    assert kept_config(tmp_path) == config


@pytest.mark.parametrize("name", ["what?now", "exp?a=1", "a%20b", "a b", "é#+&;", "50%", "${x}"])
def test_the_turn_log_is_in_the_runs_folder_whatever_that_is_called(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    config = RunConfig(run=RunSection(dir=str(folder)))
    open_log(config.log).close()
    assert [each.name for each in folder.iterdir()] == ["turns.db"]
    assert list(tmp_path.iterdir()) == [folder]
    open_log(to_run_config(OmegaConf.create(config_yaml(config))).log).close()
    assert list(tmp_path.iterdir()) == [folder]


def test_the_turn_log_is_where_the_configuration_says_or_in_the_folder():
    assert load().log.url == "sqlite:////tmp/run/turns.db"
    assert load("log.url=sqlite:///x/own.db").log.url == "sqlite:///x/own.db"


def test_a_folder_that_no_address_can_name_is_refused():
    with pytest.raises(ConfigError, match="is not UTF-8, so no address names a database there"):
        RunConfig(run=RunSection(dir="runs/\udcff"))
