"""The terminal reviewer: shows a turn, reads what the person says, goes on to the next.

Invariants: what judges say of a turn is shown only when it is asked for, so that people do not
repeat it; control characters of foreign texts do not reach the terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from clawjax.config import StepAspect
from clawjax.errors import ReviewError
from clawjax.records import Message
from clawjax.review.exchange import steps_from
from clawjax.review.label import Label
from clawjax.review.queue import Claimed, ReviewQueue
from clawjax.texts import clean

__all__ = ["HELP", "TerminalReviewer"]

HELP = """\
+ good   - bad   0 cannot tell   (or a number from -1 to 1)
h TEXT   what the assistant should have been told beforehand; several times, then + - or 0
l NAME=V label the step, e.g. l call_arguments=-1; names: {aspects}
n TEXT   a note          v  what judges said          all  the whole conversation
s skip   u undo the last one   q quit   ? this help""".format(aspects=", ".join(StepAspect))

_TAIL = 4
"""Messages before the request that are shown at first."""
_STYLES = {"user": "cyan", "assistant": "green", "tool": "yellow", "system": "magenta"}


class _Said(NamedTuple):
    """A verdict in a word; a score of None cannot tell."""

    score: float | None


_VERDICTS = {"+": _Said(1.0), "-": _Said(-1.0), "0": _Said(None)}


@dataclass(slots=True)
class _Draft:
    """What was said of a turn so far."""

    hints: list[str] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    note: str = ""


class TerminalReviewer:
    """One person at a terminal."""

    def __init__(
        self,
        queue: ReviewQueue,
        reviewer: str,
        *,
        console: Console,
        read: Callable[[], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare.

        Args:
            queue: where turns come from and labels go.
            reviewer: the person's name.
            console: what is written to.
            read: the next line that the person types; raises EOFError at the end.
            clock: Unix seconds.
        """
        self._queue = queue
        self._reviewer = reviewer
        self._console = console
        self._read = read
        self._clock = clock

    def run(self) -> int:
        """Until the queue is empty or the person leaves; how many turns were labelled."""
        labelled = 0
        self._console.print(HELP, markup=False, highlight=False)
        while (claimed := self._queue.claim(self._reviewer)) is not None:
            self._show(claimed, tail=_TAIL)
            try:
                labelled += self._review(claimed)
            except EOFError:
                break
            except ReviewError as error:  # e.g. the lease ended over lunch
                self._console.print(clean(str(error)), style="red", markup=False)
        else:
            self._console.print("Nothing waits for you.")
        self._console.print(f"{labelled} labelled.")
        return labelled

    def _review(self, claimed: Claimed) -> int:
        """Read lines until the turn is done with; how many labels that adds.

        Raises:
            EOFError: the person leaves.
            ReviewError: the turn is not theirs any more.
        """
        draft = _Draft()
        turn_id = claimed.request.turn_id
        while True:
            word, _, rest = self._read().strip().partition(" ")
            said = _verdict(word)
            if said is not None:
                return self._label(turn_id, said.score, draft)
            match word:
                case "q":
                    raise EOFError
                case "s":
                    self._queue.skip(turn_id, self._reviewer)
                    return 0
                case "u":
                    return self._undo()
                case "v":
                    self._console.print(_judges(claimed), markup=False)
                case "all":
                    self._show(claimed, tail=None)
                case _:
                    self._console.print(clean(_noted(draft, word, rest.strip())), markup=False)

    def _label(self, turn_id: str, score: float | None, draft: _Draft) -> int:
        standing = self._queue.label(
            Label(
                turn_id,
                self._reviewer,
                score,
                self._clock(),
                steps=steps_from(draft.steps),
                hints=tuple(draft.hints),
                note=draft.note,
            )
        )
        told = "settled" if standing.is_settled else "another person is to look at it"
        late = "" if standing.late is None else f"; {standing.late.reason}: the label is kept"
        self._console.print(f"{told}{late}")
        return 1

    def _undo(self) -> int:
        standing = self._queue.undo(self._reviewer)
        told = "nothing to undo" if standing is None else f"took back turn {standing.turn_id}"
        self._console.print(clean(told), markup=False)
        return 0 if standing is None else -1

    def _show(self, claimed: Claimed, *, tail: int | None) -> None:
        turn = claimed.judged.turn
        *history, request = turn.messages or (Message("user"),)
        shown = history if tail is None else history[-tail:]
        left_out = len(history) - len(shown)
        parts: list[RenderableType] = []
        if left_out:
            parts.append(Text(f"({left_out} earlier messages: all)", style="dim"))
        parts += [_message(each) for each in (*shown, request)]
        parts.append(Panel(_message(turn.reply), title="reply to judge", border_style="bold"))
        for state in claimed.judged.next_states:
            parts += [_message(each) for each in state.messages]
            if state.score is not None:
                parts.append(Text(f"the user gave {state.score:+g}", style="cyan"))
        reasons = ", ".join(claimed.request.reasons)
        title = f"turn {turn.turn_id} · {reasons}"
        self._console.print(Panel(Group(*parts), title=Text(clean(title)), title_align="left"))


def _verdict(word: str) -> _Said | None:
    """The verdict that a word is; None where it is none."""
    if word in _VERDICTS:
        return _VERDICTS[word]
    score = _number(word)
    return None if score is None else _Said(score)


def _number(word: str) -> float | None:
    """A number from -1 to 1; None where the word is none."""
    try:
        number = float(word)
    except ValueError:
        return None
    return number if -1.0 <= number <= 1.0 else None


def _noted(draft: _Draft, word: str, rest: str) -> str:
    """Take down what was said, and say so; or help."""
    if word == "h" and rest:
        draft.hints.append(rest)
        return f"hint {len(draft.hints)}: {rest}"
    if word == "n" and rest:
        draft.note = rest
        return f"note: {rest}"
    name, _, value = rest.partition("=")
    number = _number(value)
    if word == "l" and name in set(StepAspect) and number is not None:
        draft.steps[name] = number
        return f"{name}: {number:+g}"
    return HELP


def _judges(claimed: Claimed) -> str:
    return clean("\n".join(_verdict_lines(claimed))) or "no judge has said anything"


def _verdict_lines(claimed: Claimed) -> Iterator[str]:
    for verdict in claimed.judged.verdicts:
        score = "abstains" if verdict.score is None else f"{verdict.score:+.2f}"
        yield f"{verdict.module}: {score}  {verdict.explanation}"
        if verdict.step_labels:
            pairs = zip(StepAspect, verdict.step_labels, strict=True)
            yield "  " + ", ".join(f"{name}={v:+g}" for name, v in pairs if v is not None)


def _message(message: Message) -> Text:
    """A message in words."""
    calls = [f"→ {call.name}({call.arguments})" for call in message.tool_calls]
    body = "\n".join([message.content, *calls]).strip()
    style = _STYLES.get(message.role, "")
    return Text.assemble((f"{clean(message.role)}: ", f"bold {style}".strip()), clean(body))
