"""Why people are asked about a turn: one small rule each, of the verdicts alone.

Pure. Invariant: what is drawn at random depends on the turn's id and the share alone, so that
judging again asks the same people the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean, pstdev

from clawjax.config import HUMAN, PROCESS, HumanConfig, StepAspect
from clawjax.log.holding import ReviewRequest
from clawjax.records import Verdict

__all__ = [
    "AUDIT",
    "DISAGREEMENT",
    "contradicts_outcome",
    "disagreement",
    "ensemble_disagrees",
    "is_drawn",
    "is_unsafe",
    "reasons_of",
    "request_for",
    "votes_split",
]

AUDIT = "audit"
"""The reason of those that are drawn at random."""
DISAGREEMENT = "disagreement"
"""The component that tells how far the members of an ensemble differ, their standard deviation."""
_SAFETY = list(StepAspect).index(StepAspect.SAFETY)


def request_for(
    turn_id: str, verdicts: Sequence[Verdict], config: HumanConfig, *, now: float
) -> ReviewRequest | None:
    """What to ask people about a judged turn; None where there is no reason to."""
    reasons = tuple(reasons_of(turn_id, verdicts, config))
    if not reasons:
        return None
    people = 2 if is_drawn(turn_id, config.double_share, salt="double") else 1
    return ReviewRequest(turn_id, reasons, now, now + config.hold_s, people)


def reasons_of(turn_id: str, verdicts: Sequence[Verdict], config: HumanConfig) -> Iterator[str]:
    """The names of the rules that hold."""
    if votes_split(verdicts, config.least_majority, without=config.ensemble_modules):
        yield "votes split"
    if ensemble_disagrees(verdicts, config.most_deviation, modules=config.ensemble_modules):
        yield "ensemble disagrees"
    if is_unsafe(verdicts, config.safety_below, modules=config.safety_modules):
        yield "safety"
    if contradicts_outcome(verdicts, config.contradiction, outcomes=config.outcome_modules):
        yield "contradicts outcome"
    if is_drawn(turn_id, config.audit_share, salt=AUDIT):
        yield AUDIT


def votes_split(
    verdicts: Sequence[Verdict], least_majority: float | None, *, without: Sequence[str] = ()
) -> bool:
    """Whether the most frequent of a judge's valid votes has less than this share of them.

    A vote that failed is no vote. Needs two valid ones; `without` are modules with other votes.
    """
    if least_majority is None:
        return False
    ballots = [_valid(verdict) for verdict in verdicts if verdict.module not in without]
    return any(
        len(votes) > 1 and max(Counter(votes).values()) / len(votes) < least_majority
        for votes in ballots
    )


def ensemble_disagrees(
    verdicts: Sequence[Verdict], most_deviation: float | None, *, modules: Sequence[str]
) -> bool:
    """Whether an ensemble's members differ in a reply's probability of being good by more.

    The standard deviation is the verdict's component `disagreement`; where there is none it is that
    of its votes (over n), which are scores and so twice as far apart as probabilities. That of a
    part is on the verdict of its composite.
    """
    if most_deviation is None:
        return False
    found = (each for verdict in verdicts for each in _deviations(verdict, modules))
    return any(deviation > most_deviation for deviation in found)


def disagreement(module: str) -> str:
    """The name of a composite's component that keeps how far a part's members differ."""
    return f"{module}.{DISAGREEMENT}"


def is_unsafe(verdicts: Sequence[Verdict], below: float | None, *, modules: Sequence[str]) -> bool:
    """Whether a module of safety, or the label `safety` of a step, is below this."""
    if below is None:
        return False
    scores = [verdict.score for verdict in verdicts if verdict.module in modules]
    labels = [verdict.step_labels[_SAFETY] for verdict in verdicts if verdict.step_labels]
    return any(value is not None and value < below for value in (*scores, *labels))


def contradicts_outcome(
    verdicts: Sequence[Verdict], least_difference: float | None, *, outcomes: Sequence[str]
) -> bool:
    """Whether the mean scores of judges and of outcomes have different signs, so far apart.

    People's own verdicts and the labels of steps are neither.
    """
    if least_difference is None:
        return False
    scored = [v for v in verdicts if v.score is not None and v.module not in (HUMAN, PROCESS)]
    turned_out = [v.score for v in scored if v.module in outcomes and v.score is not None]
    judged = [v.score for v in scored if v.module not in outcomes and v.score is not None]
    if not turned_out or not judged:
        return False
    outcome, reward = fmean(turned_out), fmean(judged)
    return outcome * reward < 0 and abs(outcome - reward) >= least_difference


def is_drawn(turn_id: str, share: float, *, salt: str) -> bool:
    """Whether the turn is of a random share of all; the same answer every time.

    `sha256(salt : turn_id) / 2^256 < share`.
    """
    digest = hashlib.sha256(f"{salt}:{turn_id}".encode()).digest()
    return int.from_bytes(digest, "big") < share * 2**256


def _valid(verdict: Verdict) -> list[float]:
    return [vote for vote in verdict.votes if vote is not None]


def _deviations(verdict: Verdict, modules: Sequence[str]) -> Iterator[float]:
    """Of the verdict's own module, or of its parts."""
    if verdict.module in modules:
        yield _deviation(verdict)
    parts = {disagreement(module) for module in modules}
    for component in verdict.components:
        if component.module in parts and component.score is not None:
            yield component.score


def _deviation(verdict: Verdict) -> float:
    for component in verdict.components:
        if component.module == DISAGREEMENT and component.score is not None:
            return component.score
    votes = _valid(verdict)
    return pstdev(votes) / 2 if len(votes) > 1 else 0.0
