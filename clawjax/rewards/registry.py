"""From configuration to reward modules: by name, or by the import path of one's own factory."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from clawjax.config import RewardConfig
from clawjax.errors import ConfigError
from clawjax.own import lacking, made
from clawjax.protocols import Reward
from clawjax.review.calibration import Calibration
from clawjax.review.calibration_file import read_calibrations
from clawjax.rewards.calibrated import CalibratedReward
from clawjax.rewards.examples import read_examples
from clawjax.rewards.next_state import NextStateReward
from clawjax.rewards.prompts import Example
from clawjax.rewards.reaction_model import Reaction, ReactionModel

__all__ = ["NAMES", "build_rewards", "by_name"]

NAMES = (
    "rules",
    "next_state",
    "llm_judge",
    "feedback",
    "tool_outcome",
    "constitution",
    "reward_model",
    "composite",
    "quote",
    "hindsight",
    "process",
    "human",
)
"""Modules that come with clawjax; anything else is one of `reward.own`, or
`package.module:factory`."""
_OPTIONS = "reward.own.NAME.options"


def build_rewards(
    config: RewardConfig,
    *,
    env: Mapping[str, str],
    earlier: Iterable[tuple[str, Reaction]] = (),
) -> tuple[Reward, ...]:
    """Build the configured modules, in order; models are loaded and endpoints asked only later.

    Args:
        config: a factory of one's own is called with it, as `factory(config, **options)`.
        env: where judges find their API keys.
        earlier: whose reactions (`Turn.scope`) were taken for what before, in order.

    Raises:
        ConfigError: an unknown or doubled module, a factory that does not import, does not have
            the options that it is given or does not return a `Reward`, a module that cannot run as
            configured, or a calibration file that cannot be read or is of other modules.
    """
    if taken := sorted(set(config.own) & set(NAMES)):
        msg = f"reward.own.{taken[0]} is called like a module of clawjax: choose another name"
        raise ConfigError(msg)
    builder = _Builder(config, env, earlier)
    rewards = tuple(builder.build(name) for name in config.modules)
    builder.require_calibrated()
    names = [reward.name for reward in rewards]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        msg = f"reward.modules names {', '.join(doubled)} more than once: verdicts are kept by name"
        raise ConfigError(msg)
    unknown = sorted(set(config.weights) - set(names))
    if unknown:
        msg = (
            f"reward.weights names {', '.join(unknown)}, but the verdicts of reward.modules="
            f"{config.modules} are called {', '.join(names)}: a weight goes by that name"
        )
        raise ConfigError(msg)
    return rewards


def by_name(config: RewardConfig) -> RewardConfig:
    """To be shown: with modules of one's own by the name of their verdicts, as weights have it.

    Raises:
        ConfigError: as `build_rewards`, of such a module.
    """
    builder = _Builder(config, {}, ())
    shown = copy.copy(config)
    shown.modules = [builder.build(name).name if ":" in name else name for name in config.modules]
    return shown


class _Builder:
    """Shares one reaction model between the modules that read reactions."""

    def __init__(
        self,
        config: RewardConfig,
        env: Mapping[str, str],
        earlier: Iterable[tuple[str, Reaction]],
    ) -> None:
        self._config = config
        self._env = env
        self._earlier = earlier
        file = config.calibration_file
        self._calibrations: Mapping[str, Calibration] = (
            {} if file is None else read_calibrations(Path(file))
        )
        self._calibrated: set[str] = set()

    @cached_property
    def _reactions(self) -> ReactionModel:
        return ReactionModel.packaged()

    @cached_property
    def _next_state(self) -> NextStateReward:
        return NextStateReward(self._config.next_state, self._reactions, self._earlier)

    @property
    def _examples(self) -> tuple[Example, ...]:
        config = self._config.llm_judge
        return read_examples(Path(config.examples_file), config.examples) if config.examples else ()

    def build(self, name: str) -> Reward:
        """A module or a part, with its calibration where there is one."""
        reward = self._build(name)
        calibration = self._calibrations.get(reward.name)
        if calibration is None:
            return reward
        self._calibrated.add(reward.name)
        return CalibratedReward(reward, calibration)

    def require_calibrated(self) -> None:
        """Refuse a calibration file that changes nothing.

        Raises:
            ConfigError: no module that was built is in it.
        """
        if self._calibrations and not self._calibrated:
            msg = (
                f"reward.calibration_file={self._config.calibration_file} is of "
                f"{', '.join(sorted(self._calibrations))}, none of which judges with "
                f"reward.modules={self._config.modules}: name another file, or null"
            )
            raise ConfigError(msg)

    def _build(self, name: str) -> Reward:
        match name:
            case "rules":
                from clawjax.rewards.rules import RulesReward

                return RulesReward(self._config.rules)
            case "next_state":
                return self._next_state
            case "feedback":
                from clawjax.rewards.feedback import FeedbackReward

                return FeedbackReward(self._next_state)
            case "quote":
                from clawjax.rewards.quote import QuoteReward

                return QuoteReward(self._config.next_state, self._reactions)
            case "hindsight":
                from clawjax.rewards.hindsight import HindsightReward

                return HindsightReward(self._config.llm_judge, env=self._env)
            case "llm_judge":
                from clawjax.rewards.llm_judge import LlmJudgeReward

                return LlmJudgeReward(
                    self._config.llm_judge, env=self._env, examples=self._examples
                )
            case "process":
                from clawjax.rewards.process import ProcessReward

                return ProcessReward(self._config.process)
            case "human":
                from clawjax.rewards.human import HumanReward

                return HumanReward(self._config.human)
            case "tool_outcome":
                from clawjax.rewards.tool_outcome import ToolOutcomeReward

                return ToolOutcomeReward(self._config.tool_outcome)
            case "constitution":
                from clawjax.rewards.constitution import ConstitutionReward

                return ConstitutionReward(
                    self._config.constitution, self._config.llm_judge, env=self._env
                )
            case "reward_model":
                from clawjax.rewards.reward_model import RewardModelReward

                return RewardModelReward(self._config.reward_model)
            case "composite":
                from clawjax.rewards.composite import CompositeReward

                chosen = self._config.composite
                parts = [self.build(part) for part in chosen.parts]
                return CompositeReward(chosen, parts, timeout_s=self._config.judge_timeout_s)
            case _ if name in self._config.own:
                return self._own(name)
            case _:
                return self._by_path(name)

    def _own(self, name: str) -> Reward:
        """A module of `reward.own`, which has to be called as it is there."""
        own, setting = self._config.own[name], f"reward.own.{name}"
        reward = self._made(own.path, own.options, f"{setting}.path", f"{setting}.options")
        if reward.name != name:
            msg = (
                f"{setting}.path={own.path} made a module that is called {reward.name!r}, and its "
                f"verdicts are kept by that name: write reward.own.{reward.name}, or have the "
                f"module's `name` be {name!r}"
            )
            raise ConfigError(msg)
        return reward

    def _by_path(self, path: str) -> Reward:
        """A module by the import path of its factory, without options."""
        if ":" not in path:
            known = (*NAMES, *self._config.own)
            msg = (
                f"reward.modules names {path!r}, which is unknown: use {', '.join(known)}, or an "
                "import path package.module:factory, or give it a path: reward.own."
                f"{path}.path=package.module:factory"
            )
            raise ConfigError(msg)
        return self._made(path, {}, "reward.modules", _OPTIONS)

    def _made(self, path: str, options: Mapping[str, Any], setting: str, key: str) -> Reward:
        """Call a factory of one's own and check what it returns."""
        given = {"config": self._config}
        reward = made(path, given, options, setting=setting, key=key)
        if problems := _not_a_reward(reward):
            told = f"{setting}={path} made a {type(reward).__name__} that {', '.join(problems)}"
            msg = f"{told}: it has to be a clawjax.protocols.Reward"
            raise ConfigError(msg)
        return cast("Reward", reward)


def _not_a_reward(candidate: object) -> list[str]:
    """What `candidate` lacks of the `Reward` protocol."""
    problems = lacking(candidate, Reward)
    name = getattr(candidate, "name", None)
    if name is not None and not (isinstance(name, str) and name):
        problems.append(f"is called {name!r}, which is no text to keep verdicts by")
    return problems
