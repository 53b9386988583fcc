"""Replies with scores on their way into the turn log.

An offline run is a run whose turns come from a data set, or from questions of one, instead of from
people: what is logged is what a gateway and a judge would have logged, so that admission, credit,
exactly-once training, checkpoints and every tool that reads logs are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

from clawjax.learner.offline.encoding import Encoded
from clawjax.learner.scoring import Model
from clawjax.models.transformer import Params
from clawjax.records import (
    DropReason,
    FinishReason,
    Message,
    Outcome,
    Sample,
    SamplingParams,
    Turn,
    TurnKind,
    Verdict,
    VersionRun,
)

__all__ = ["Draft", "Drawn", "Policy", "Source", "logged", "plain_sample"]


class Policy(NamedTuple):
    """Who is being trained, at the moment."""

    model: Model
    trainable: Params
    version: int


@dataclass(frozen=True, slots=True)
class Draft:
    """One reply, not yet a turn."""

    turn_id: str
    scope: str
    """Replies are compared with those to the same prompt in the same scope."""
    prompt: tuple[Message, ...]
    reply: Message
    tools_json: str | None
    encoded: Encoded
    sampler_logprobs: tuple[float, ...]
    """Of the response under the policy at hand: it drew the reply, or it reads it now."""
    sampling: SamplingParams
    finish_reason: FinishReason
    score: float | None
    """In [-1, 1]; None where nobody can tell."""
    judge: str
    """The name of the verdict's module."""
    note: str = ""
    """Where the reply and its score are from."""


class Drawn(NamedTuple):
    """A batch."""

    drafts: Sequence[Draft]
    metrics: Mapping[str, float] = MappingProxyType({})


class Source(Protocol):
    """Where the replies of an offline run come from."""

    def batch(self, number: int, policy: Policy) -> Drawn:
        """Batch `number`, from 0; the same policy gets the same batch."""
        ...


def logged(
    draft: Draft, *, version: int, model: str, now: float
) -> tuple[Turn | Verdict | Outcome, ...]:
    """What the turn log keeps of a draft whose log-probs are of a policy version.

    One without a score has ended: nobody will react to it.
    """
    turn = Turn(
        turn_id=draft.turn_id,
        session_id=draft.turn_id,
        parent_turn_id=None,
        response_id=draft.turn_id,
        choice=0,
        kind=TurnKind.MAIN,
        scope=draft.scope,
        model=model,
        messages=draft.prompt,
        tools_json=draft.tools_json,
        reply=draft.reply,
        prompt_ids=draft.encoded.prompt_ids,
        response_ids=draft.encoded.response_ids,
        sampler_logprobs=draft.sampler_logprobs,
        sampler_logprobs_t1=draft.sampler_logprobs if draft.sampling.temperature == 1.0 else (),
        token_versions=(VersionRun(version, len(draft.encoded.response_ids)),),
        sampling=draft.sampling,
        finish_reason=draft.finish_reason,
        arrived_at=now,
        finished_at=now,
        seed=draft.sampling.seed or 0,
    )
    verdict = Verdict(draft.turn_id, draft.judge, draft.score, now, explanation=draft.note)
    if draft.score is not None:
        return turn, verdict
    return turn, verdict, Outcome(draft.turn_id, now, drop_reason=DropReason.ABSTAINED)


def plain_sample(turn_id: str, encoded: Encoded) -> Sample:
    """An exchange to be scored, and not to be trained on."""
    count = len(encoded.response_ids)
    return Sample(
        turn_id=turn_id,
        prompt_ids=encoded.prompt_ids,
        response_ids=encoded.response_ids,
        sampler_logprobs=(0.0,) * count,
        token_versions=(0,) * count,
        temperature=1.0,
        credit=None,
    )
