"""Read the log again as training samples: for ablations, offline training and re-judging.

Replaying changes nothing in the log and gives the same samples each time.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Protocol

from clawjax.errors import LogError
from clawjax.records import DropReason, JudgedTurn, Link, Sample, TeacherSays, Turn, expand_versions

__all__ = [
    "ENDS_IN_A_BATCH",
    "GREEDY_BELOW",
    "HasLinks",
    "HasTurns",
    "Placed",
    "replay",
    "scored_at",
    "to_sample",
]

ENDS_IN_A_BATCH = frozenset({None, DropReason.NO_SIGNAL, DropReason.CONTENT, DropReason.LISTENED})
"""Reasons for which turns were dropped that were taken into a batch; None: trained on. They are
remembered where reactions are recalled."""

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


class Placed:
    """The turns whose placement was kept, and how they were placed, few of them in memory at once.

    They are numbered in order of logging as they are gone through; by its number each can be had
    again afterwards, quickly where that is near one that was had of late.
    """

    def __init__(self, log: HasLinks, *, page: int = 32, kept: int = 4) -> None:
        """Nothing is read yet.

        Args:
            log: is read twice, and may grow meanwhile.
            page: turns that are read at once.
            kept: pages that stay in memory.
        """
        self._log = log
        self._page = page
        self._kept = kept
        self._seqs = array("q")
        self._pages: OrderedDict[int, dict[int, tuple[Turn, Link]]] = OrderedDict()

    def __iter__(self) -> Iterator[tuple[Turn, Link]]:
        """All, in order of logging; they are numbered anew."""
        self._seqs, self._pages = array("q"), OrderedDict()
        for seq, turn, link in self._beyond(0):
            self._seqs.append(seq)
            yield turn, link

    def __getitem__(self, number: int) -> tuple[Turn, Link]:
        """One of those that were gone through.

        Raises:
            LogError: it was forgotten meanwhile.
        """
        held = self._held(number // self._page)
        try:
            return held[self._seqs[number]]
        except KeyError as error:
            msg = "a turn was removed from the log while it was read: try again"
            raise LogError(msg) from error

    def _held(self, index: int) -> dict[int, tuple[Turn, Link]]:
        if index in self._pages:
            self._pages.move_to_end(index)
            return self._pages[index]
        seqs = self._seqs[index * self._page : (index + 1) * self._page]
        within = takewhile(lambda each: each[0] <= seqs[-1], self._beyond(seqs[0] - 1))
        self._pages[index] = {seq: (turn, link) for seq, turn, link in within}
        if len(self._pages) > self._kept:
            self._pages.popitem(last=False)
        return self._pages[index]

    def _beyond(self, after: int) -> Iterator[tuple[int, Turn, Link]]:
        while found := self._log.turns(after=after, limit=self._page):
            links = self._log.links([judged.turn.turn_id for judged in found])
            for judged in found:
                if (link := links.get(judged.turn.turn_id)) is not None:
                    yield judged.seq, judged.turn, link
            after = found[-1].seq


def replay(log: HasTurns, *, page: int = 256) -> Iterator[JudgedTurn]:
    """Every turn in order of logging, with all that is known about it."""
    after = 0
    while found := log.turns(after=after, limit=page):
        yield from found
        after = found[-1].seq
