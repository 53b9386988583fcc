"""Which turns may be trained on: each is admitted, dropped for a named reason, or waits.

Pure. Invariant: nothing is admitted without a score or a hint that a reward module stands by and
the objective learns from, and nothing is cut to fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from clawjax.config import PROCESS, LearnerConfig, ObjectiveConfig, RewardConfig
from clawjax.learner.credit.base import AdmittedTurn
from clawjax.log.replay import GREEDY_BELOW
from clawjax.records import (
    DropReason,
    FinishReason,
    JudgedTurn,
    NextState,
    NextStateKind,
    Turn,
    TurnKind,
    Verdict,
)
from clawjax.review.steps import process_score
from clawjax.verdicts import EXPLICIT_FEEDBACK, combine, says_something

__all__ = ["Admit", "Decision", "Drop", "Wait", "admit", "score_of", "unfit"]


class Admit(NamedTuple):
    """Train on it."""

    admitted: AdmittedTurn


class Drop(NamedTuple):
    """Never train on it."""

    reason: DropReason


class Wait(NamedTuple):
    """Undecided: what came next, or the verdict on it, is still to come."""


Decision = Admit | Drop | Wait


def admit(
    judged: JudgedTurn,
    *,
    age: Callable[[int], int],
    learner: LearnerConfig,
    objective: ObjectiveConfig,
    reward: RewardConfig,
    now: float = math.inf,
) -> Decision:
    """Decide about one turn.

    A turn on which nothing was said that the objective learns from is done with once its reply was
    answered, or its session closed, and all of that was judged: feedback alone ends nothing. For
    `learner.max_wait_s` after an answer there may be more of it.

    Args:
        judged: the turn with all that is known about it.
        age: steps between a version and the policy now.
        learner: bounds on length, age and waiting.
        objective: which signals it learns from.
        reward: weights of the modules.
        now: Unix seconds; by default long after all that is known.
    """
    reason = unfit(judged.turn, learner) or _stale(judged.turn, age, learner)
    if reason is not None:
        return Drop(reason)
    if _unread_rating(judged, reward) in judged.unjudged:
        return Wait()
    judged = _with_rating(judged, reward)
    score, process = score_of(judged, objective, reward), _process(judged, objective, reward)
    hints = _hints(judged.verdicts) if objective.uses_hints else ()
    is_scored = score is not None and (objective.uses_scores or objective.uses_demonstrations)
    if is_scored or hints or process is not None:
        ready_at = max(v.judged_at for v in judged.verdicts if says_something(v))
        return Admit(AdmittedTurn(judged.turn, score, hints, ready_at, process, judged.next_states))
    if not judged.verdicts or judged.unjudged or not _is_over(judged):
        return Wait()
    if _is_young(judged, now, learner):
        return Wait()
    if all(s.kind is NextStateKind.SESSION_CLOSED for s in judged.next_states):
        return Drop(DropReason.NO_NEXT_STATE)
    return Drop(DropReason.ABSTAINED if score is None else DropReason.NO_SIGNAL)


def score_of(judged: JudgedTurn, objective: ObjectiveConfig, reward: RewardConfig) -> float | None:
    """How it went; steps that are credited are a matter apart."""
    is_apart = objective.steps.is_on
    known = _with_rating(judged, reward).verdicts
    verdicts = [v for v in known if not (is_apart and v.module == PROCESS)]
    return combine(verdicts, reward.weights)


def _process(judged: JudgedTurn, objective: ObjectiveConfig, reward: RewardConfig) -> float | None:
    """What the turn is worth as a step, where that is credited."""
    if not objective.steps.is_on:
        return None
    return process_score(judged.verdicts, reward.process.weights)


def _hints(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """All modules' hints, each once, in their order."""
    return tuple(dict.fromkeys(hint for verdict in verdicts for hint in verdict.hints))


def unfit(turn: Turn, config: LearnerConfig) -> DropReason | None:
    """Why a turn can never be trained on, whatever is said of it and when."""
    if turn.kind is not TurnKind.MAIN:
        return DropReason.SIDE
    if turn.finish_reason is FinishReason.CANCELLED:
        return DropReason.CANCELLED
    if not turn.response_ids:
        return DropReason.EMPTY_RESPONSE
    if not turn.sampler_logprobs:
        return DropReason.NO_LOGPROBS
    if 0 < turn.sampling.temperature < GREEDY_BELOW:
        return DropReason.NEARLY_GREEDY
    if not _is_aligned(turn):
        return DropReason.LENGTH_MISMATCH
    if len(turn.prompt_ids) + len(turn.response_ids) > config.max_tokens:
        return DropReason.TOO_LONG
    return None


def _stale(turn: Turn, age: Callable[[int], int], config: LearnerConfig) -> DropReason | None:
    oldest = max(age(run.version) for run in turn.token_versions)
    return DropReason.STALE if oldest > config.max_staleness else None


def _is_aligned(turn: Turn) -> bool:
    """One log-prob and one version per response token, after a prompt of at least one token.

    Log-probs at temperature 1 are not needed.
    """
    length = len(turn.response_ids)
    versions = sum(run.length for run in turn.token_versions)
    at_t1 = len(turn.sampler_logprobs_t1) or length
    return length == len(turn.sampler_logprobs) == at_t1 == versions and len(turn.prompt_ids) > 0


def _is_over(judged: JudgedTurn) -> bool:
    """Whether the reply was answered, or nobody is there any more who could answer it."""
    return any(state.kind is not NextStateKind.FEEDBACK for state in judged.next_states)


def _is_young(judged: JudgedTurn, now: float, learner: LearnerConfig) -> bool:
    """Whether the answer may still be gone on with: people write in several messages.

    Feedback is no answer, and ends none. A clock that went back holds nothing up: a time that is
    far ahead counts as one long past.
    """
    answers = (s for s in judged.next_states if s.kind is not NextStateKind.FEEDBACK)
    newest = max(answers, key=lambda state: state.arrived_at)
    if newest.kind is NextStateKind.TOOL:
        results = sum(message.role == "tool" for message in newest.messages)
        is_whole = results >= len(judged.turn.reply.tool_calls)
    else:
        is_whole = newest.kind is not NextStateKind.USER
    return not is_whole and abs(now - newest.arrived_at) < learner.max_wait_s


def _unread_rating(judged: JudgedTurn, reward: RewardConfig) -> NextState | None:
    """The first number that a person gave, where the feedback module has not given it a say."""
    if EXPLICIT_FEEDBACK not in reward.modules:
        return None
    if any(v.module == EXPLICIT_FEEDBACK and v.score is not None for v in judged.verdicts):
        return None
    ratings = (s for s in judged.next_states if s.kind is NextStateKind.FEEDBACK)
    return next((rating for rating in ratings if rating.score is not None), None)


def _with_rating(judged: JudgedTurn, reward: RewardConfig) -> JudgedTurn:
    """With what the module would say, where the judges passed a rating while they had no such one.

    No verdict on it will come any more.
    """
    rating = _unread_rating(judged, reward)
    if rating is None or rating in judged.unjudged:
        return judged
    others = (v for v in judged.verdicts if v.module != EXPLICIT_FEEDBACK)
    said = Verdict(
        judged.turn.turn_id, EXPLICIT_FEEDBACK, rating.score, judged_at=rating.arrived_at
    )
    return judged._replace(verdicts=(*others, said))
