"""One verdict out of those of several modules, each of which stays readable on it.

Owns the rule from parts to a score. Invariants: an abstention never becomes a number; a part that
breaks down or is late is an abstention on record, and the others go on; what every part said is
kept. A part that is away holds up only turns that cannot be decided without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clawjax.config import CompositeConfig, CompositeRule
from clawjax.errors import ClawError, ConfigError, JudgeAwayError
from clawjax.protocols import Reward
from clawjax.records import Component, NextState, Turn, Verdict
from clawjax.review.calibration import uncalibrated
from clawjax.review.reasons import DISAGREEMENT, disagreement
from clawjax.review.steps import corrected
from clawjax.rewards.calibrated import bare
from clawjax.rewards.checked import checked

__all__ = ["CompositeReward", "combine_scores", "time_limit_s"]

logger = logging.getLogger(__name__)

_COMBINING_S = 1.0
"""Seconds for what is done between and after the questions."""


@dataclass(frozen=True, slots=True)
class _Breakdown(Verdict):
    """An abstention of a part that failed; by type, as a part may explain itself in any words."""

    @classmethod
    def of(cls, part: Reward, turn: Turn, why: str) -> _Breakdown:
        return cls(turn.turn_id, part.name, None, time.time(), explanation=f"failed: {why}")


class _Asked(NamedTuple):
    """What a part said, and whether that is only because it is away."""

    verdict: Verdict
    away: JudgeAwayError | None = None


def time_limit_s(reward: Reward, of_one: float) -> float:
    """Within which a module has to reach its verdict: a composite gives each part that time.

    Args:
        reward: the module, calibrated or not.
        of_one: of a module that is none of several, seconds.
    """
    asked = bare(reward)
    longest_s = asked.longest_s if isinstance(asked, CompositeReward) else None
    return of_one if longest_s is None else longest_s


def combine_scores(
    scores: Mapping[str, float | None], rule: CompositeRule, weights: Mapping[str, float]
) -> float | None:
    """What the parts say together.

    Args:
        scores: by part, in order; None where one abstained.
        rule: how.
        weights: for the mean; 1 where absent. A part of weight 0 is recorded and has no say.

    Returns:
        A score in [-1, 1], or None where every part with a say abstained.
    """
    given = {name: score for name, score in scores.items() if score is not None}
    if rule is CompositeRule.first:
        return next(iter(given.values()), None)
    if rule is CompositeRule.min:
        return min(given.values(), default=None)
    total = sum(weights.get(name, 1.0) for name in given)
    if total <= 0:
        return None
    return sum(weights.get(name, 1.0) * score for name, score in given.items()) / total


class CompositeReward:
    """Asks its parts: gates first, then all at once, or one after the other until one decides."""

    name = "composite"

    def __init__(
        self, config: CompositeConfig, parts: Sequence[Reward], *, timeout_s: float | None = None
    ) -> None:
        """Combine `parts`, which are closed with it.

        Args:
            config: how.
            parts: in order.
            timeout_s: of each part; one that takes longer is an abstention. None: no bound.

        Raises:
            ConfigError: a weight or a gate is of no part.
        """
        self._config = config
        self._timeout_s = timeout_s
        self._parts = tuple(parts)
        names = [part.name for part in parts]
        for kind, named in (("weights", config.weights), ("gates", config.gates)):
            for name in sorted(set(named) - set(names)):
                msg = f"reward.composite.{kind} names {name}, which is none of {', '.join(names)}"
                raise ConfigError(msg)

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether any part has something to say."""
        return any(_may_apply(part, turn, next_state) for part in self._parts)

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Ask the parts that apply, and combine what they say.

        Raises:
            JudgeAwayError: a part that has a say cannot be asked, and no other decides alone.
        """
        gates = [part for part in self._parts if part.name in self._config.gates]
        others = [part for part in self._parts if part.name not in self._config.gates]
        opened = await self._all(gates, turn, next_state)
        verdicts = [each.verdict for each in opened]
        closed = self._closed([each.verdict for each in opened if each.away is None])
        if closed is not None:
            return self._verdict(turn, verdicts, closed.score, _why_closed(closed))
        self._require_here(opened)
        if self._config.rule is CompositeRule.first:
            said = await self._until_decided(others, turn, next_state)
        else:
            said = await self._all(others, turn, next_state)
        self._require_here(said)
        asked = [each.verdict for each in said]
        # A gate that is open has a say only under `min`: it was asked whether, not how well.
        has_say = (*verdicts, *asked) if self._config.rule is CompositeRule.min else asked
        score = combine_scores(
            {verdict.module: verdict.score for verdict in has_say},
            self._config.rule,
            self._config.weights,
        )
        return self._verdict(turn, (*verdicts, *asked), score, self._config.rule.value)

    @property
    def longest_s(self) -> float | None:
        """How long it takes where every part uses up its time, seconds; None: no bound."""
        if self._timeout_s is None:
            return None
        gates = len(self._config.gates)
        others = len(self._parts) - gates
        is_one_by_one = self._config.rule is CompositeRule.first
        rounds = (gates > 0) + (others if is_one_by_one else others > 0)
        return rounds * self._timeout_s + _COMBINING_S

    @property
    def answered(self) -> int:
        """How many questions the parts' endpoints have taken so far."""
        return sum(getattr(part, "answered", 0) for part in self._parts)

    @property
    def is_away(self) -> bool:
        """Whether a part's endpoint took none when it was asked last."""
        return any(getattr(part, "is_away", False) for part in self._parts)

    async def aclose(self) -> None:
        """Close every part, also where closing one fails."""
        async with contextlib.AsyncExitStack() as stack:
            for part in self._parts:
                stack.push_async_callback(part.aclose)

    async def _all(
        self, parts: Sequence[Reward], turn: Turn, next_state: NextState
    ) -> list[_Asked]:
        async with asyncio.TaskGroup() as group:
            asking = [_ask(part, turn, next_state, self._timeout_s) for part in parts]
            tasks = list(map(group.create_task, asking))
        return [asked for task in tasks if (asked := task.result()) is not None]

    async def _until_decided(
        self, parts: Sequence[Reward], turn: Turn, next_state: NextState
    ) -> list[_Asked]:
        """Up to and including the first score, or the first that has to be waited for."""
        asked: list[_Asked] = []
        for part in parts:
            found = await _ask(part, turn, next_state, self._timeout_s)
            if found is None:
                continue
            asked.append(found)
            if found.verdict.score is not None or found.away is not None:
                break
        return asked

    def _require_here(self, asked: Sequence[_Asked]) -> None:
        """Go on only where nobody with a say is away."""
        is_mean, weights = self._config.rule is CompositeRule.mean, self._config.weights
        for verdict, away in asked:
            has_say = verdict.module in self._config.gates or weights.get(verdict.module, 1.0) > 0
            if away is not None and (has_say or not is_mean):
                raise away

    def _closed(self, gates: Sequence[Verdict]) -> Verdict | None:
        """The gate that decides alone: one that broke down, else the lowest below its bound."""
        for verdict in gates:
            if isinstance(verdict, _Breakdown):
                return verdict
        below = [
            verdict
            for verdict in gates
            if verdict.score is not None and verdict.score < self._config.gates[verdict.module]
        ]
        return min(below, key=lambda verdict: verdict.score or 0.0, default=None)

    def _verdict(
        self, turn: Turn, verdicts: Sequence[Verdict], score: float | None, how: str
    ) -> Verdict:
        digests = "".join(verdict.prompt_digest or "" for verdict in verdicts)
        return Verdict(
            turn_id=turn.turn_id,
            module=self.name,
            score=score,
            judged_at=time.time(),
            hints=tuple(dict.fromkeys(hint for v in verdicts for hint in v.hints)),
            step_labels=_step_labels(verdicts),
            explanation=how if score is not None else f"{how}: no part decides",
            prompt_digest=hashlib.sha256(digests.encode()).hexdigest() if digests else None,
            components=tuple(component for v in verdicts for component in _components(v)),
            revision=next((v.revision for v in verdicts if v.revision is not None), None),
        )


def _components(verdict: Verdict) -> Iterator[Component]:
    """What a part said and had said before it was calibrated, and how far its members differ."""
    yield Component(verdict.module, verdict.score, verdict.explanation)
    original = uncalibrated(verdict.module)
    for component in verdict.components:
        if component.module == original:
            yield component
        elif component.module == DISAGREEMENT:
            yield component._replace(module=disagreement(verdict.module))


def _step_labels(verdicts: Sequence[Verdict]) -> tuple[float | None, ...]:
    """Of several parts that label steps, the first to have an opinion on an aspect counts."""
    labels: tuple[float | None, ...] = ()
    for verdict in verdicts:
        if verdict.step_labels:
            labels = corrected(verdict.step_labels, labels)
    return labels


def _why_closed(gate: Verdict) -> str:
    if isinstance(gate, _Breakdown):
        return f"gate {gate.module} broke down"
    return f"gate {gate.module} is closed at {gate.score:+.2f}"


def _may_apply(part: Reward, turn: Turn, next_state: NextState) -> bool:
    """Whether to ask a part; one that breaks down over it does so again then, on record."""
    try:
        return part.applies(turn, next_state)
    except Exception:
        return True


async def _ask(
    part: Reward, turn: Turn, next_state: NextState, timeout_s: float | None
) -> _Asked | None:
    """The part's verdict; an abstention where it fails, says what nobody may say, or is late.

    None where it does not apply.
    """
    try:
        if not part.applies(turn, next_state):
            return None
        async with asyncio.timeout(timeout_s):
            verdict = await part.judge(turn, next_state)
        verdict = checked(verdict, part.name, turn.turn_id)
    except TimeoutError:
        why = "no verdict in time" if timeout_s is None else f"no verdict within {timeout_s:g} s"
        logger.warning("%s on turn %s: %s", part.name, turn.turn_id, why)
        away = JudgeAwayError(why) if getattr(part, "is_away", False) else None
        return _Asked(_Breakdown.of(part, turn, why), away)
    except Exception as error:
        away = error if isinstance(error, JudgeAwayError) else None
        if isinstance(error, ClawError):
            logger.warning("%s on turn %s: %s", part.name, turn.turn_id, error)
        else:  # its words may be the user's: only the trace's places are kept
            logger.exception("%s on turn %s failed", part.name, turn.turn_id)
        return _Asked(_Breakdown.of(part, turn, f"{type(error).__name__}: {error}"), away)
    return _Asked(verdict)
