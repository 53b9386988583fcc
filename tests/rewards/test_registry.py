import sys
from types import ModuleType

import numpy as np
import pytest

from clawjax.config import CompositeConfig, RewardConfig, RewardModelConfig, RulesConfig
from clawjax.errors import ConfigError
from clawjax.protocols import Reward
from clawjax.records import NextState, Turn, Verdict
from clawjax.rewards.registry import NAMES, build_rewards
from clawjax.rewards.reward_head import RewardHead
from clawjax.rewards.reward_store import RewardModelStore
from clawjax.testing import FakeReward


@pytest.fixture
def own(monkeypatch) -> ModuleType:
    """A module of the user's own, importable as `own_rewards`."""
    module = ModuleType("own_rewards")
    monkeypatch.setitem(sys.modules, "own_rewards", module)
    return module


def test_all_modules_that_ship_can_be_built_together(own, tmp_path):
    own.factory = lambda _: FakeReward(lambda _: 1.0, "mine")
    ones = np.ones(3, np.float32)
    store = RewardModelStore(tmp_path)
    store.adopt(store.write(RewardHead(ones, ones, ones[None], ones[:1], 1.0), {}).version)
    config = RewardConfig(
        modules=list(NAMES),
        rules=RulesConfig(max_words=9),
        reward_model=RewardModelConfig(path=str(tmp_path)),
        composite=CompositeConfig(parts=["own_rewards:factory"]),
    )
    rewards = build_rewards(config, env={})
    assert tuple(reward.name for reward in rewards) == NAMES
    assert all(isinstance(reward, Reward) for reward in rewards)


def test_ones_own_module_gets_the_configuration(own):
    seen = []

    def factory(config: RewardConfig) -> FakeReward:
        seen.append(config)
        return FakeReward(lambda _: 1.0, "mine")

    own.factory = factory
    config = RewardConfig(modules=["own_rewards:factory"], weights={"mine": 2.0})
    (reward,) = build_rewards(config, env={})
    assert reward.name == "mine"
    assert seen == [config]


def test_ones_own_module_gets_its_options_and_goes_by_its_name(own):
    own.factory = lambda config, *, name, score: FakeReward(lambda _: score, name)
    config = RewardConfig(
        modules=["mine", "composite"],
        weights={"mine": 2.0},
        composite=CompositeConfig(parts=["other"], gates={"other": 0.0}),
        own={
            name: {"path": "own_rewards:factory", "options": {"name": name, "score": 1.0}}
            for name in ("mine", "other")
        },
    )
    assert [reward.name for reward in build_rewards(config, env={})] == ["mine", "composite"]
    for gives in ("may_give_hints", "may_give_scores", "reads_ratings", "may_label_steps"):
        assert getattr(config, gives), "who knows what somebody's own module gives"


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("polite", {}, "made a module that is called 'mine', .* write reward.own.mine"),
        ("rules", {}, "reward.own.rules is called like a module of clawjax"),
        ("mine", {"scre": 1}, r"own\.mine\.options\.scre is unknown: .*did you mean score"),
        (
            "mine",
            {"score": "x"},
            r"own\.mine\.path=own_rewards:factory: .*ValueError: could",
        ),
    ],
)
def test_a_module_that_is_not_what_it_is_called_or_given_is_refused(own, name, options, says):
    def factory(config: RewardConfig, *, score: float = 1.0) -> FakeReward:
        value = float(score)
        return FakeReward(lambda _: value, "mine")

    own.factory = factory
    mine = {"path": "own_rewards:factory", "options": options}
    with pytest.raises(ConfigError, match=says):
        build_rewards(RewardConfig(modules=[name], own={name: mine}), env={})


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"mine": {"path": "a:b"}}, "reward.own.mine judges nothing: add mine to reward.modules"),
        ({"mine": {"options": {}}}, "reward.own.mine.path='' is no import path"),
        ({"mine": {"path": "a:b", "option": {}}}, "mine.option is unknown: did you mean options?"),
    ],
)
def test_a_module_of_ones_own_that_cannot_be_meant_is_refused(own, says):
    with pytest.raises(ConfigError, match=says):
        RewardConfig(own=own)


class Nameless:
    def applies(self, turn: Turn, next_state: NextState) -> bool:
        return True

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        raise NotImplementedError

    async def aclose(self) -> None: ...


class Synchronous(Nameless):
    name = "sync"

    def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        raise NotImplementedError


class Unapplied:
    name = "unapplied"


def fail(_: RewardConfig) -> None:
    msg = "no GPU"
    raise RuntimeError(msg)


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        (lambda _: Nameless(), "a Nameless that has no attribute name"),
        (lambda _: FakeReward(lambda _: 1.0, ""), "is called '', which is no text"),
        (lambda _: Synchronous(), "a Synchronous that has no async method judge"),
        (lambda _: Unapplied(), "has no method applies"),
        (lambda _: None, "a NoneType that has no attribute name"),
        (lambda _: Nameless, "that has no attribute name, has no method applies"),
        (fail, "raised RuntimeError: no GPU"),
        (lambda: None, "takes 0 positional arguments, but is called as factory.config."),
        (lambda _, path: None, "reward.own.NAME.options.path is missing"),
        (3, r"is a int: name a function or class factory\(config\)"),
    ],
)
def test_what_is_no_reward_is_refused_with_what_it_lacks(own, factory, says):
    own.factory = factory
    with pytest.raises(ConfigError, match=says):
        build_rewards(RewardConfig(modules=["own_rewards:factory"]), env={})


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        (["nextstate"], "'nextstate', which is unknown: use rules, next_state, .*package.module"),
        (["no_such_package_x:factory"], "cannot be imported: No module named"),
        (["json:no_such_name"], "cannot be imported: module 'json' has no attribute"),
        ([":x"], "is no import path"),
        (["rules"], "no rule is switched on"),
        (["feedback", "feedback"], "feedback more than once"),
    ],
)
def test_a_wrong_module_is_named_with_the_fix(modules, says):
    with pytest.raises(ConfigError, match=says):
        build_rewards(RewardConfig(modules=modules), env={})


def test_a_weight_for_a_module_that_does_not_run_is_refused():
    config = RewardConfig(modules=["feedback"], weights={"next_state": 2.0})
    with pytest.raises(ConfigError, match="weights names next_state"):
        build_rewards(config, env={})
