"""What is said in a conversation, by the person and by the model, and what follows from what.

Every text carries a mark that occurs nowhere else, so that a prompt tells which moment of which
conversation it is, whatever the client did to the history. Three things are said: the first and
the third have the model call a tool before it answers; the second fails once: it is refused with
503, or its answer breaks off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from clients.recipe import Recipe

__all__ = ["SIDE", "Fault", "Moment", "Script"]

_STEPS = (1, 2, 3)
_CALLING = (1, 3)
_FAILING = 2


class Fault(Enum):
    """How a moment fails, once."""

    REFUSED = "refused"
    CUT = "cut"


class Moment(NamedTuple):
    """A reply: the model's call or its answer to the nth thing that was said."""

    conversation: str
    step: int
    is_call: bool

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.conversation}{self.step}" + (" (call)" if self.is_call else "")

    def mark(self, letter: str) -> str:
        """Of what is said (q), of the tool's result (t) or of the answer (a)."""
        return f"{self.conversation}{self.step}{letter}"


SIDE = Moment("side", 0, False)
"""Any request that is the client's own business."""


@dataclass(frozen=True, slots=True)
class Script:
    """The conversations of a recipe."""

    recipe: Recipe
    fault: Fault = Fault.REFUSED

    def texts(self, conversation: str) -> list[str]:
        """What the person says."""
        return [
            f"Question {Moment(conversation, step, False).mark('q')}: what comes next?"
            for step in _STEPS
        ]

    def moments(self, conversation: str) -> Iterator[Moment]:
        """The replies that have to come, each of which goes on from the one before."""
        for step in _STEPS:
            if self.recipe.tool is not None and step in _CALLING:
                yield Moment(conversation, step, True)
            yield Moment(conversation, step, False)

    def expected(self) -> list[Moment]:
        """All of them."""
        return [m for name in self.recipe.conversations for m in self.moments(name)]

    def before(self, moment: Moment) -> Moment | None:
        """The reply that it goes on from; None for the first."""
        chain = list(self.moments(moment.conversation))
        at = chain.index(moment)
        return chain[at - 1] if at else None

    def reaction_to(self, moment: Moment) -> str | None:
        """The mark of what comes after a reply; None after the last."""
        if moment.is_call:
            return moment.mark("t")
        later = moment._replace(step=moment.step + 1)
        return later.mark("q") if later.step in _STEPS else None

    def moment_of(self, prompt: str) -> Moment:
        """Which reply a prompt asks for.

        Raises:
            ValueError: nothing of the script is in it.
        """
        if any(re.search(sign, prompt) for sign in self.recipe.sides.values()):
            return SIDE
        marks = [
            (prompt.rfind(moment.mark("q")), moment)
            for moment in self.expected()
            if not moment.is_call
        ]
        at, moment = max(marks)
        if at < 0:
            msg = f"a request that is not in the script: {prompt[-200:]!r}"
            raise ValueError(msg)
        is_calling = self.recipe.tool is not None and moment.step in _CALLING
        return moment._replace(is_call=is_calling and moment.mark("t") not in prompt)

    def reply(self, moment: Moment) -> str:
        """What the model says."""
        if moment == SIDE:
            return "A short title"
        if moment.is_call:
            assert self.recipe.tool is not None
            return f"I look it up. {self.recipe.tool.call(moment.mark('t'))}"
        answer = f"The answer is {moment.mark('a')}."
        return answer if self.recipe.answers_by is None else self.recipe.answers_by.call(answer)

    def is_refused(self, moment: Moment) -> bool:
        """Whether it is answered 503 at first."""
        is_refusing = self.recipe.retries and self.fault is Fault.REFUSED
        return is_refusing and moment.step == _FAILING

    def is_cut(self, moment: Moment) -> bool:
        """Whether its answer breaks off at first."""
        return self.fault is Fault.CUT and moment.step == _FAILING

    def unanswered(self, output: str) -> Sequence[str]:
        """Marks of the answers that the client did not show."""
        answers = [moment.mark("a") for moment in self.expected() if not moment.is_call]
        return [mark for mark in answers if mark not in output]
