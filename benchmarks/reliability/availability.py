"""Streams side by side, while the learner rests and while it publishes; the reference, emulated.

People stream replies without a pause, each asking anew as soon as a reply has ended. While the
learner rests their requests are side requests, which are never learnt from; while it learns each
reply is rated. The reference's loop is emulated on the times of that very traffic.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from _compare import load
from _config import composed
from _intervals import Interval
from _loops import Loops, served_version
from _reference_loop import Emulation, emulate, reactions_of
from _streams import percentiles

from clawjax.log.replay import replay
from clawjax.metrics.jsonl import read_jsonl

from .talking import Answer, ask, connected, messages_of

__all__ = [
    "IDLE",
    "REFERENCE",
    "TRAINING",
    "Size",
    "as_refused",
    "availability",
    "overrides",
    "row_of",
]

IDLE, TRAINING, REFERENCE = "idle", "training", "reference, emulated"
Row = dict[str, Any]

_WARM_UP_REPLIES = 2
_FIRST_STEP_TIMEOUT_S = 600.0
_LEARN_TIMEOUT_S = 300.0


class Size(NamedTuple):
    """How much traffic there is."""

    streams: int
    idle_s: float
    training_s: float
    tokens: int
    """Of each reply."""


def overrides(size: Size) -> tuple[str, ...]:
    """Everybody has a slot; a learning rate of 0 keeps replies at their length."""
    return (
        "experiment=serve",
        "model=tiny",
        "engine=tiny",
        "learner=tiny",
        "gateway.port=0",
        f"engine.slots={size.streams}",
        "learner.learning_rate=0",
        "learner.max_staleness=1000000",
        "learner.batch_turns=16",
        "learner.nice=5",
    )


def availability(folder: Path, size: Size) -> list[Row]:
    """A row for each state, and one for the reference."""
    config = composed(folder, *overrides(size))
    with Loops.running(config) as loops:
        asyncio.run(_streams(loops, size, rounds=_WARM_UP_REPLIES, is_rated=True))
        loops.until(lambda: bool(served_version(loops.base_url)), _FIRST_STEP_TIMEOUT_S)
        _until_learnt(loops)
        idle = asyncio.run(_streams(loops, size, seconds=size.idle_s, is_rated=False))
        before, began = served_version(loops.base_url) or 0, time.time()
        training = asyncio.run(_streams(loops, size, seconds=size.training_s, is_rated=True))
        versions = (served_version(loops.base_url) or 0) - before
        emulated = _emulated(loops, began)
    common = {"streams": size.streams, "load": load()}
    rows = [row_of(IDLE, idle), row_of(TRAINING, training) | {"versions": versions}]
    rows.append(row_of(REFERENCE, as_refused(training, emulated.paused)) | {"lost": emulated.lost})
    return [common | row for row in rows]


def row_of(state: str, answers: Sequence[Answer]) -> Row:
    """What clients met, and how long they waited."""
    row: Row = {
        "case": "availability",
        "state": state,
        "replies": len(answers),
        "non_2xx": sum(answer.is_refused for answer in answers),
        "dropped": sum(answer.is_dropped for answer in answers),
    }
    firsts = [answer.first_s for answer in answers if answer.first_s is not None]
    gaps = [gap for answer in answers for gap in answer.gaps_s]
    for name, values in (("first_s", firsts), ("gap_s", gaps)):
        if values:
            row |= percentiles(values).as_row(name)
    return row


def as_refused(answers: Sequence[Answer], paused: Sequence[tuple[float, float]]) -> list[Answer]:
    """The same traffic, had requests been refused in the meantime.

    Who is refused asks again when it is over, and has waited for so long besides. Inter-token
    latencies stay as they were measured, which is in the reference's favour.
    """
    pauses = sorted(Interval(*pause) for pause in paused)
    starts = [pause.start for pause in pauses]
    found = []
    for answer in answers:
        index = bisect_right(starts, answer.sent_at) - 1
        waits_s = pauses[index].stop - answer.sent_at if index >= 0 else 0.0
        if waits_s <= 0:
            found.append(answer)
            continue
        found.append(Answer(answer.sent_at, 503, is_whole=True))
        if answer.first_s is not None:
            found.append(answer._replace(first_s=answer.first_s + waits_s))
    return found


async def _streams(
    loops: Loops,
    size: Size,
    *,
    is_rated: bool,
    seconds: float | None = None,
    rounds: int | None = None,
) -> list[Answer]:
    """Stream for so long, or so many replies each; what was begun is read to its end."""
    ends_at = None if seconds is None else time.monotonic() + seconds
    began = time.time_ns()

    async def stream(number: int) -> list[Answer]:
        answers: list[Answer] = []
        while len(answers) != rounds and (ends_at is None or time.monotonic() < ends_at):
            key = began + number + size.streams * len(answers)
            body: Mapping[str, Any] = {
                "model": loops.config.model.name,
                "messages": messages_of(key),
                "max_tokens": size.tokens,
                "stream": True,
                **({} if is_rated else {"turn_type": "side"}),
            }
            answers.append(answer := await ask(client, body))
            if is_rated and answer.is_whole and answer.response_id is not None:
                thumbs = ("up", "down")[len(answers) % 2]
                rating = {"response_id": answer.response_id, "thumbs": thumbs}
                (await client.post("/feedback", json=rating)).raise_for_status()
        return answers

    async with connected(loops.base_url, size.streams) as client:
        found = await asyncio.gather(*(stream(number) for number in range(size.streams)))
    return [answer for answers in found for answer in answers]


def _until_learnt(loops: Loops) -> None:
    """Nothing is under way, and less than a step's turns are left."""

    def is_learnt() -> bool:
        left = len(loops.log.judged(limit=loops.config.learner.min_turns))
        return left < loops.config.learner.min_turns and not loops.log.claimed()

    loops.until(is_learnt, _LEARN_TIMEOUT_S)


def _emulated(loops: Loops, began: float) -> Emulation:
    """The reference's loop on this traffic, with our median step time and ratings as samples."""
    turns = [judged for judged in replay(loops.log) if judged.turn.arrived_at >= began]
    steps = [entry for entry in read_jsonl(loops.paths.metrics) if "train/seconds" in entry]
    return emulate(
        reactions_of(turns, takes_feedback=True),
        begins_at=began,
        batch_turns=loops.config.learner.batch_turns,
        step_s=median(entry["train/seconds"] for entry in steps if entry["t"] >= began),
    )
