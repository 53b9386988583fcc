"""Read the log again as training samples: for ablations, offline training and re-judging.

Replaying changes nothing in the log and gives the same samples each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from clawjax.records import JudgedTurn, Link, Sample, TeacherSays, Turn, expand_versions

__all__ = [
    "GREEDY_BELOW",
    "HasLinks",
    "HasTurns",
    "placed",
    "replay",
    "scored_at",
    "to_sample",
]


GREEDY_BELOW = 0.01
"""Temperatures below are taken for 0: what one of them leaves of a distribution is one token, and
its gradient is the rounding of logits over the temperature."""


def scored_at(temperature: float) -> float:
    """The temperature at which tokens are scored that were drawn at this one.

    Greedy replies carry no density of their own: theirs is the one at temperature 1.
    """
    return temperature if temperature >= GREEDY_BELOW else 1.0


def to_sample(
    turn: Turn, credit: tuple[float, ...] | None, teacher: TeacherSays | None = None
) -> Sample:
    """A turn with its signals, ready to be batched."""
    return Sample(
        turn_id=turn.turn_id,
        prompt_ids=turn.prompt_ids,
        response_ids=turn.response_ids,
        sampler_logprobs=turn.sampler_logprobs,
        token_versions=expand_versions(turn.token_versions),
        temperature=scored_at(turn.sampling.temperature),
        credit=credit,
        teacher=teacher,
        is_truncated=turn.sampling.is_truncated,
    )


class HasTurns(Protocol):
    """A log that can be read from its beginning."""

    def turns(self, *, after: int = 0, limit: int = 1000) -> Sequence[JudgedTurn]:
        """Turns in order of logging, beyond `after`."""
        ...


class HasLinks(HasTurns, Protocol):
    """One that also says how turns were placed."""

    def links(self, turn_ids: Sequence[str]) -> Mapping[str, Link]:
        """By turn id; nothing of turns logged before there were links."""
        ...


def placed(log: HasLinks, *, page: int = 256) -> Iterator[tuple[Turn, Link]]:
    """Every turn in order of logging, and how it was placed, where that was kept."""
    after = 0
    while found := log.turns(after=after, limit=page):
        links = log.links([judged.turn.turn_id for judged in found])
        for judged in found:
            if (link := links.get(judged.turn.turn_id)) is not None:
                yield judged.turn, link
        after = found[-1].seq


def replay(log: HasTurns, *, page: int = 256) -> Iterator[JudgedTurn]:
    """Every turn in order of logging, with all that is known about it."""
    after = 0
    while found := log.turns(after=after, limit=page):
        yield from found
        after = found[-1].seq
