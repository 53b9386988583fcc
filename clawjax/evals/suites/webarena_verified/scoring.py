"""The published scorer's verdict as a score, and whose fault it is where there is none.

An evaluator that breaks down is unscored, unless it was the agent's answer that broke it, of a type
that the format does not have: then a right answer in its place does not, and the score is 0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from clawjax.errors import EvalError
from clawjax.evals.harness.trajectory import Score
from clawjax.evals.suites.webarena_verified.answers import right_answer
from clawjax.evals.suites.webarena_verified.records import VerifiedTask
from clawjax.evals.suites.webarena_verified.scorer import Question, Verdict

__all__ = ["AsksScorer", "scored"]


class AsksScorer(Protocol):
    """What is asked."""

    async def ask(self, question: Question) -> Verdict:
        """See `PublishedScorer.ask`."""
        ...


async def scored(scorer: AsksScorer, task: VerifiedTask, question: Question) -> Score:
    """The score of an answer.

    Raises:
        EvalError: the scorer broke down, and not because of the answer.
    """
    verdict = await scorer.ask(question)
    if not verdict.errors:
        return Score(verdict.score, parts=_parts(verdict), explanation=_explained(verdict))
    right = await scorer.ask(replace(question, agent_response=right_answer(task)))
    if right.errors:
        raise EvalError(f"task {task.task_id} has no score: {'; '.join(verdict.errors)}")
    told = f"the answer breaks the scorer, a right one does not: {'; '.join(verdict.errors)}"
    return Score(0.0, parts=_parts(verdict), explanation=told)


def _parts(verdict: Verdict) -> dict[str, float | None]:
    """By evaluator; numbered from the second of a name on."""
    parts: dict[str, float | None] = {}
    for each in verdict.evaluators:
        earlier = sum(name.partition(".")[0] == each.name for name in parts)
        name = f"{each.name}.{earlier + 1}" if earlier else each.name
        parts[name] = None if each.error else each.score
    return parts


def _explained(verdict: Verdict) -> str:
    lines = [f"{each.name}: {line}" for each in verdict.evaluators for line in each.said]
    return "\n".join(lines) or "as expected"
