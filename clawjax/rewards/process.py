"""Judges turns as steps of a task with tools: labels by rules, and a score made of them.

Costs no model and under a millisecond. People may correct the labels, aspect by aspect
(`clawjax.review`); what a correction comes to is worked out where it is used
(`clawjax.review.steps`), so that the machine's labels stay on record.
"""

from __future__ import annotations

import time

from clawjax.config import PROCESS, ProcessConfig, StepAspect
from clawjax.errors import ConfigError
from clawjax.records import NextState, Turn, Verdict
from clawjax.review.episodes import has_results, is_continued
from clawjax.review.steps import step_score
from clawjax.rewards.episode import episode_of
from clawjax.rewards.steps import step_labels

__all__ = ["ProcessReward"]


class ProcessReward:
    """Labels steps; silent about turns that are none."""

    name = PROCESS

    def __init__(self, config: ProcessConfig) -> None:
        """Check the weights.

        Raises:
            ConfigError: a weight is of no aspect.
        """
        unknown = sorted(set(config.weights) - set(StepAspect))
        if unknown:
            msg = (
                f"reward.process.weights names {', '.join(unknown)}, which is no aspect of a step: "
                f"use {', '.join(StepAspect)}"
            )
            raise ConfigError(msg)
        self._config = config

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether the turn calls tools and their results are there, or answers after such."""
        is_answer = not turn.reply.tool_calls and turn.reply.malformed is None
        if is_answer:
            return is_continued(turn)
        return has_results(next_state) or turn.reply.malformed is not None

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Label the step; no label at all abstains."""
        labels = step_labels(episode_of(turn, next_state), self._config)
        score = step_score(labels, self._config.weights)
        told = ", ".join(
            f"{aspect}={label:+g}"
            for aspect, label in zip(StepAspect, labels, strict=True)
            if label is not None
        )
        return Verdict(
            turn_id=turn.turn_id,
            module=self.name,
            score=score,
            judged_at=time.time(),
            step_labels=labels,
            explanation=told or "nothing to label",
        )

    async def aclose(self) -> None:
        """Nothing is held."""
