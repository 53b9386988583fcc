"""From configuration to reward modules: by name, or by the import path of one's own factory."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import cast

from clawjax.config import RewardConfig
from clawjax.errors import ConfigError
from clawjax.protocols import Reward
from clawjax.review.calibration import Calibration
from clawjax.review.calibration_file import read_calibrations
from clawjax.rewards.calibrated import CalibratedReward
from clawjax.rewards.examples import read_examples
from clawjax.rewards.next_state import NextStateReward
from clawjax.rewards.prompts import Example
from clawjax.rewards.reaction_model import Reaction, ReactionModel

__all__ = ["NAMES", "build_rewards"]

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
"""Modules that come with clawjax; anything else is `package.module:factory`."""


def build_rewards(
    config: RewardConfig,
    *,
    env: Mapping[str, str],
    earlier: Iterable[tuple[str, Reaction]] = (),
) -> tuple[Reward, ...]:
    """Build the configured modules, in order; models are loaded and endpoints asked only later.

    Args:
        config: a factory of one's own is called with it, as `factory(config)`.
        env: where judges find their API keys.
        earlier: whose reactions (`Turn.scope`) were taken for what before, in order.

    Raises:
        ConfigError: an unknown or doubled module, a factory that does not import or does not
            return a `Reward`, a module that cannot run as configured, or a calibration file that
            cannot be read or is of other modules.
    """
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
        msg = f"reward.weights names {', '.join(unknown)}, not in reward.modules={config.modules}"
        raise ConfigError(msg)
    return rewards


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
                return CompositeReward(chosen, [self.build(part) for part in chosen.parts])
            case _:
                return _custom(name, self._config)


def _custom(path: str, config: RewardConfig) -> Reward:
    """Call a factory of one's own and check what it returns."""
    factory = _import(path)
    try:
        reward = factory(config)
    except ConfigError:
        raise
    except Exception as error:
        msg = f"reward module {path!r}: the factory raised {type(error).__name__}: {error}"
        raise ConfigError(msg) from error
    if problem := _not_a_reward(reward):
        msg = f"reward module {path!r} returned a {type(reward).__name__} that {problem}"
        raise ConfigError(msg)
    return cast("Reward", reward)


def _import(path: str) -> Callable[[RewardConfig], object]:
    module_name, colon, attribute = path.partition(":")
    if not (module_name and colon and attribute):
        msg = (
            f"reward.modules names {path!r}, which is unknown: use {', '.join(NAMES)}, "
            "or an import path package.module:factory"
        )
        raise ConfigError(msg)
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"reward module {path!r} cannot be imported: {error}"
        raise ConfigError(msg) from error
    if not callable(factory):
        msg = f"reward module {path!r} is a {type(factory).__name__}: name a factory(config)"
        raise ConfigError(msg)
    return factory


def _not_a_reward(candidate: object) -> str | None:
    """What `candidate` lacks of the `Reward` protocol."""
    name = getattr(candidate, "name", None)
    if not (isinstance(name, str) and name):
        return "has no name: give it a non-empty string attribute `name`"
    if not callable(getattr(candidate, "applies", None)):
        return "has no method applies(turn, next_state)"
    for method in ("judge", "aclose"):
        if not inspect.iscoroutinefunction(getattr(candidate, method, None)):
            return f"has no async method {method}"
    return None
