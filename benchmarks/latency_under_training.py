"""How much slower do replies come while the learner trains?

    python benchmarks/latency_under_training.py [--quick]

Eight clients stream replies over HTTP from the real endpoint, each sending the next request as soon
as it has read a reply; meanwhile the learner, in its own process, has nothing to do or takes one
step after the other. Measured are the time to the first visible text and the time between pieces of
text (a token each), with the learner as it is configured by default and confined to one core. About
eight minutes on two CPU cores; `--quick` streams short replies of the tiny random model: it shows
that the script works.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx
from _compare import in_turn, load, one_line, ratios, spread
from _config import composed
from _intervals import Interval, shared
from _loops import Loops, served_version
from _result import Goal, write_result
from _streams import Timed, percentiles, stream_all

from clawjax.envs.persona import load_persona
from clawjax.log.replay import replay
from clawjax.metrics.jsonl import read_jsonl
from clawjax.records import JudgedTurn, NextState, Turn

TARGET = 2.5
STEP_TIMEOUT_S = 900.0
POLL_S = 0.25
SETTINGS = (
    "experiment=serve",
    "gateway.port=0",
    "learner.learning_rate=0",
    "learner.max_staleness=1000000",
)
TINY = ("model=tiny", "engine=tiny", "learner=tiny")
IDLE, TRAINING = "idle", "training"
MEASURES = {"gap_s": "between tokens", "first_s": "to the first token"}


class Size(NamedTuple):
    """How much traffic there is."""

    rounds: int
    streams: int
    replies: int
    """Of each stream in a round."""
    tokens: int
    """Of each reply, at most."""
    taught_tokens: int
    """Of each reply that is trained on, at most."""


FULL = Size(rounds=3, streams=8, replies=10, tokens=32, taught_tokens=160)
QUICK = Size(rounds=1, streams=4, replies=4, tokens=16, taught_tokens=16)
NOTES = {
    "first_s": "from sending a request to its first visible text; percentiles within a round, "
    "median and range over the rounds",
    "gap_s": "from one piece of visible text to the next, which is a token except where bytes of a "
    "character, or a possible end, are held back",
    "ratio": "of the 99th percentile while training to that of the same round without",
    "replies": "in a round, over all streams",
    "step_share": "of the training windows, how much was within optimiser steps; the rest is "
    "checkpoints, publication and the adoption of weights, which are part of training",
    "refused": "requests answered otherwise than with 2xx, in all windows",
    "learner": "as shipped: in a process of its own with the niceness of conf/; one core: confined "
    "to one by learner.cpu_cores=1. A step takes 16 turns of up to 160 tokens; they were said "
    "before and are trained on again and again, with a learning rate of 0, so that replies keep "
    "their length",
}


class Backlog:
    """Keeps the learner busy with copies of a batch that was really said."""

    def __init__(self, loops: Loops, batch: Sequence[JudgedTurn]) -> None:
        """Nothing is added before `busy`."""
        self._log = loops.log
        self._batch = batch
        self._loops = loops
        self._owed = loops.log.counts().trained

    @contextmanager
    def busy(self) -> Iterator[None]:
        """From the beginning of a step on, one follows the other; all are done at the end."""
        stop = threading.Event()
        feeder = threading.Thread(target=self._feed, args=(stop,))
        self._add()
        feeder.start()
        try:
            self._loops.until(lambda: self._log.claimed() > 0, STEP_TIMEOUT_S)
            yield
        finally:
            stop.set()
            feeder.join()
        self._loops.until(lambda: self._log.counts().trained >= self._owed, STEP_TIMEOUT_S)

    def _feed(self, stop: threading.Event) -> None:
        """See to it that a whole batch waits besides the one that is trained on."""
        while not stop.wait(POLL_S):
            if self._owed - self._log.counts().trained < 2 * len(self._batch):
                self._add()

    def _add(self) -> None:
        self._log.append(*(record for judged in self._batch for record in copied(judged)))
        self._owed += len(self._batch)


def copied(judged: JudgedTurn) -> tuple[Turn | NextState, ...]:
    """The same turn said again just now, with the same feedback."""
    name, now = uuid.uuid4().hex, time.time()
    turn = dataclasses.replace(
        judged.turn,
        turn_id=name,
        response_id=name,
        session_id=name,
        parent_turn_id=None,
        arrived_at=now,
        finished_at=now,
    )
    states = (
        dataclasses.replace(state, turn_id=name, arrived_at=now) for state in judged.next_states
    )
    return (turn, *states)


@dataclass(slots=True)
class Window:
    """Streams for a while; a call is one measurement."""

    loops: Loops
    size: Size
    backlog: Backlog | None
    """None leaves the learner without anything to do."""
    rounds: list[list[Timed]] = field(default_factory=list)
    spans: list[Interval] = field(default_factory=list)

    def __call__(self) -> float:
        """The 99th percentile of the seconds between tokens."""
        if self.backlog is None:
            self._stream()
        else:
            with self.backlog.busy():
                self._stream()
        return percentiles(self.values("gap_s")[-1]).p99

    def values(self, measure: str) -> list[list[float]]:
        """Of each round, all that was measured."""
        if measure == "first_s":
            return [[r.first_s for r in each if r.first_s is not None] for each in self.rounds]
        return [[gap for reply in each for gap in reply.gaps_s] for each in self.rounds]

    def _stream(self) -> None:
        bodies = requests(self.loops, self.size, seed=len(self.rounds))
        began = time.time()
        found = asyncio.run(stream_all(self.loops.base_url, bodies))
        self.spans.append(Interval(began, time.time()))
        self.rounds.append([reply for stream in found for reply in stream])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    is_quick = parser.parse_args().quick
    with TemporaryDirectory(prefix="latency_") as folder:
        config = composed(Path(folder), *SETTINGS, *(TINY if is_quick else ()))
        with Loops.running(config) as loops:
            rows = measure(loops, QUICK if is_quick else FULL)
            refused = loops.log.counters().get("non_2xx", 0)
    for row in rows:
        print(one_line(row))
    write_result(
        "latency_under_training_quick" if is_quick else "latency_under_training",
        rows=rows,
        goals=[*goals(rows), Goal("requests refused", "==", 0, refused, "requests")],
        command="python benchmarks/latency_under_training.py" + (" --quick" if is_quick else ""),
        notes=NOTES,
    )


def goals(rows: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """On the median of the rounds."""
    return [
        Goal(f"p99 {what} in training / idle, {row['learner']}", "<=", TARGET, row[measure], "x")
        for row in rows
        if row["state"] == "training / idle"
        for measure, what in MEASURES.items()
    ]


def measure(loops: Loops, size: Size) -> list[dict[str, Any]]:
    """Rows of both ways to run the learner."""
    backlog = Backlog(loops, said_batch(loops, size))
    rows = compare("as shipped", loops, size, backlog)
    loops.stop_learner()
    loops.start_learner(dataclasses.replace(loops.config.learner, cpu_cores=1))
    with backlog.busy():
        print("the learner has one core")
    return rows + compare("one core", loops, size, backlog)


def said_batch(loops: Loops, size: Size) -> list[JudgedTurn]:
    """Have a batch of replies rated and trained on; the first step compiles."""
    count = loops.config.learner.batch_turns
    body = size._replace(streams=1, replies=count, tokens=size.taught_tokens)
    with httpx.Client(base_url=loops.base_url, timeout=STEP_TIMEOUT_S) as client:
        for number, request in enumerate(requests(loops, body, seed=-1)[0]):
            answer = client.post("/chat/completions", json=request).raise_for_status().json()
            thumbs = {"response_id": answer["id"], "thumbs": ("up", "down")[number % 2]}
            client.post("/feedback", json=thumbs).raise_for_status()
    loops.until(lambda: loops.log.counts().trained == count, STEP_TIMEOUT_S)
    loops.until(lambda: bool(served_version(loops.base_url)), STEP_TIMEOUT_S)
    return list(replay(loops.log))


def requests(loops: Loops, size: Size, *, seed: int) -> list[list[dict[str, Any]]]:
    """For each stream the requests it makes; equal seeds give equal requests."""
    questions = [question.text for question in load_persona("brief").train]

    def body(stream: int, reply: int) -> dict[str, Any]:
        number = (seed * size.streams + stream) * size.replies + reply
        return {
            "model": loops.config.model.name,
            "messages": [{"role": "user", "content": questions[number % len(questions)]}],
            "max_tokens": size.tokens,
            "temperature": loops.config.user.temperature,
            "seed": number,
        }

    return [[body(stream, r) for r in range(size.replies)] for stream in range(size.streams)]


def compare(learner: str, loops: Loops, size: Size, backlog: Backlog) -> list[dict[str, Any]]:
    """Idle and training windows in turn, once a short one is over: a row each, and their ratios."""
    Window(loops, size._replace(replies=1), None)()
    idle, training = Window(loops, size, None), Window(loops, size, backlog)
    windows = {IDLE: idle, TRAINING: training}
    in_turn(windows, rounds=size.rounds, warm_ups=0)
    common = {"learner": learner, "load": load(), "streams": size.streams}
    steps = [
        Interval(entry["t"] - entry["train/seconds"], entry["t"])
        for entry in read_jsonl(loops.paths.metrics)
        if "train/seconds" in entry
    ]
    within = shared(steps, training.spans) / sum(stop - start for start, stop in training.spans)
    rows: list[dict[str, Any]] = [
        common | {"state": state} | summary(window) for state, window in windows.items()
    ]
    rows[1]["step_share"] = within
    against: dict[str, float] = {}
    for measure in MEASURES:
        tails = [
            [percentiles(values).p99 for values in window.values(measure)]
            for window in (training, idle)
        ]
        against |= ratios(*tails).as_row(measure)
    return [*rows, common | {"state": "training / idle"} | against]


def summary(window: Window) -> dict[str, Any]:
    """Percentiles within a round: their median and range over the rounds."""
    row: dict[str, Any] = {
        "replies": len(window.rounds[0]),
        "refused": sum(reply.is_refused for each in window.rounds for reply in each),
    }
    for measure in MEASURES:
        found = [percentiles(values).as_row(measure) for values in window.values(measure)]
        for name in found[0]:
            row |= spread([each[name] for each in found]).as_row(name)
    return row


if __name__ == "__main__":
    main()
