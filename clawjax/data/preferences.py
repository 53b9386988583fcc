"""Preferences and ratings as records: one reply over another, or one reply on its own.

Owns what a preference is, not how a file writes it (`clawjax.data.formats`). Invariants: a prompt
ends before the reply that it is about; both replies of a preference answer the same prompt and
differ; who said so is kept with it, and so is whose conversation it was.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from clawjax.records import Message

__all__ = ["Preference", "Provenance", "Rated", "Row", "RowError", "preferences_of"]


_LOT = 64
"""Replies to one prompt of which every two are compared."""


class RowError(ValueError):
    """A row that nobody can learn from: to be left out."""

    def __init__(self, reason: str, source: str = "") -> None:
        """Say why, in words that are the same for all rows with this fault."""
        super().__init__(f"row {source!r} is of no use: {reason}")
        self.reason = reason


class Provenance(StrEnum):
    """Who judged."""

    HUMAN = "human"
    """A person who was asked: a label, a review."""
    AI = "ai"
    """A judge or a constitution, about replies in real conversations."""
    SYNTHETIC = "synthetic"
    """A model, about conversations that a model made up."""
    LIVE = "live"
    """A user, in passing: what was said, edited or asked again in daily use."""


@dataclass(frozen=True, slots=True)
class Preference:
    """Of two replies to a prompt, `chosen` is the better one."""

    prompt: tuple[Message, ...]
    """At least one message, up to what is answered; a system message, if any, comes first."""
    chosen: Message
    rejected: Message
    provenance: Provenance
    user: str = ""
    """Whose conversation it was; data are split by it. Empty: not known."""
    source: str = ""
    """What it was made from: a turn's id, a line of a file, a data set's name."""
    margin: float | None = None
    """By how much, in the source's own units, above 0; None where nobody said."""
    tools_json: str | None = None
    """The tools the replies could call, as `Turn.tools_json`."""

    def __post_init__(self) -> None:
        """Refuse what nobody can learn from.

        Raises:
            RowError: no prompt, equal replies, replies that nobody gave, a margin not above 0.
        """
        _check_prompt(self.prompt, self.source)
        _check_reply(self.chosen, self.source)
        _check_reply(self.rejected, self.source)
        if _content(self.chosen) == _content(self.rejected):
            raise RowError("both replies are the same", self.source)
        if self.margin is not None and not (math.isfinite(self.margin) and self.margin > 0):
            raise RowError("its margin is not above 0", self.source)


@dataclass(frozen=True, slots=True)
class Rated:
    """One reply and what somebody thought of it: a thumb, a score, a demonstration."""

    prompt: tuple[Message, ...]
    """As of a `Preference`."""
    reply: Message
    score: float
    """In [-1, 1]: 1 is a thumb up, -1 a thumb down; a reply worth imitating has 1."""
    provenance: Provenance
    user: str = ""
    """As of a `Preference`."""
    source: str = ""
    tools_json: str | None = None

    def __post_init__(self) -> None:
        """Refuse what nobody can learn from.

        Raises:
            RowError: no prompt, a reply that nobody gave, a score outside [-1, 1].
        """
        _check_prompt(self.prompt, self.source)
        _check_reply(self.reply, self.source)
        if not -1 <= self.score <= 1:
            raise RowError("its score is not between -1 and 1", self.source)

    @property
    def is_liked(self) -> bool:
        """Whether it is a thumb up."""
        return self.score > 0


Row = Preference | Rated
"""One line of a data set."""


def preferences_of(replies: Sequence[Rated], *, min_margin: float = 0.0) -> list[Preference]:
    """Every two replies to the same prompt of the same user whose scores differ, better over worse.

    Of more than 64 replies to a prompt, as of one that is asked every day, every two within lots of
    64, drawn the same each time: pairs of n replies are n squared.

    Provenance, source and tools are the better one's; the margin is the difference of their scores.

    Args:
        replies: any number.
        min_margin: scores that differ, but by less, tell nothing: graded judges are not exact.
    """
    groups: dict[tuple[object, ...], list[Rated]] = {}
    for rated in replies:
        groups.setdefault((rated.prompt, rated.user, rated.tools_json), []).append(rated)
    return [
        _preference(better, worse)
        for group in groups.values()
        for lot in _lots(group)
        for better, worse in itertools.permutations(lot, 2)
        if better.score - worse.score >= min_margin
        and better.score > worse.score
        and _content(better.reply) != _content(worse.reply)
    ]


def _lots(group: Sequence[Rated]) -> list[Sequence[Rated]]:
    if len(group) <= _LOT:
        return [group]
    mixed = random.Random(len(group)).sample(group, len(group))
    return [mixed[start : start + _LOT] for start in range(0, len(mixed), _LOT)]


def _preference(better: Rated, worse: Rated) -> Preference:
    return Preference(
        prompt=better.prompt,
        chosen=better.reply,
        rejected=worse.reply,
        provenance=better.provenance,
        user=better.user,
        source=better.source,
        margin=better.score - worse.score,
        tools_json=better.tools_json,
    )


def _content(reply: Message) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What a reply says and does, without names that differ between equal replies."""
    return reply.content, tuple((call.name, call.arguments) for call in reply.tool_calls)


def _check_prompt(prompt: Sequence[Message], source: str) -> None:
    if not prompt:
        raise RowError("it has no prompt", source)


def _check_reply(reply: Message, source: str) -> None:
    if reply.role != "assistant":
        raise RowError("a reply is not the assistant's", source)
    if not reply.content and not reply.tool_calls:
        raise RowError("a reply is empty", source)
