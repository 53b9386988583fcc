"""How long until the first token: a new prompt, one that goes on, and beside running replies?

    python benchmarks/ttft.py [--quick]

A prompt of 1,024 tokens is read by the engine cold, again with only its last 32 tokens changed,
and while four other replies are being written, whose tokens must not wait for it. Beside it
llama.cpp reads the same prompts, cold and changed. About two minutes on two quiet cores.
`--quick` is one round with prompts of 256 tokens.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, islice, pairwise
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from _compare import in_turn, load, one_line, ratios, spread
from _engine import Prompt, Reply, Served, asked, served, text_prompts
from _peer import Peer, PeerError
from _result import Goal, write_result

from clawjax.config import EngineConfig, ModelConfig
from clawjax.models.load import default_model_file, load_model
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import Engine, GenerateRequest

CHANGED = 32
"""Tokens at the end of a prompt that are new when it goes on."""
RUNNING = 4
STREAM_PROMPT, STREAM_TOKENS = 64, 512
"""Of each running reply: its prompt's tokens, and how many it may have at most."""
IDLE_TOKENS = 32
"""Tokens of each running reply before the long prompt comes."""
COLD, WARM, BESIDE = "cold", "warm", f"beside {RUNNING} streams"
CLAWJAX, LLAMA = "clawjax fp32", "llama.cpp Q4_1"

Row = dict[str, Any]
ReadFirst = Callable[[Prompt], float]
"""Seconds from a prompt to the first token of its reply."""
TimeIt = Callable[[], float]


class Size(NamedTuple):
    """How much is measured."""

    prompt: int
    rounds: int
    context_length: int = ModelConfig.context_length
    """Of the engine; a shorter one starts sooner."""


FULL, QUICK = Size(prompt=1024, rounds=7), Size(prompt=256, rounds=1, context_length=640)

NOTES = {
    "prompts": "SmolLM2-135M-Instruct, 1,024 tokens of English, one sampled token; EngineConfig() "
    "as it is (fp32, engine.slots=8, engine.prefill_chunk=128)",
    "cold": "a prompt that shares no beginning with any before",
    "warm": "a cold one of the same length again, its last 32 tokens replaced by others",
    "beside 4 streams": "a cold one while four sampled replies are being written",
    "gaps": "seconds between two tokens of a running reply; idle: after all four have begun and "
    "before the long prompt is asked for, 32 tokens each; reading: every gap that overlaps the "
    "time from asking to the long prompt's first token. worst_s is the largest of a round, with "
    "its median and range over rounds; p99_s and median_s are over the gaps of all rounds",
    "ratio": "within a round; worst gaps: reading over idle",
    "llama.cpp": "the Q4_1 file itself in one context that keeps what the new prompt begins with, "
    "as llama-server does; no other streams",
}


class Prompts:
    """Cold prompts, each new, and warm ones, each a change of the last cold one."""

    def __init__(self, tokenizer: ChatTokenizer, length: int) -> None:
        """All are of `length` tokens."""
        self._cold = text_prompts(tokenizer, length)
        self._ends = text_prompts(tokenizer, CHANGED)
        self._last: Prompt = ()

    def cold(self) -> Prompt:
        """Begins like no other."""
        self._last = next(self._cold)
        return self._last

    def warm(self) -> Prompt:
        """Begins like the last cold one.

        Raises:
            RuntimeError: there was none.
        """
        if not self._last:
            msg = "a warm prompt needs a cold one before it"
            raise RuntimeError(msg)
        return (*self._last[:-CHANGED], *next(self._ends))


class Beside(NamedTuple):
    """What reading a prompt did to replies that were being written."""

    first_s: float
    idle_gaps_s: list[float]
    reading_gaps_s: list[float]

    @classmethod
    def of(cls, reply: Reply, streams: Sequence[Reply]) -> Beside:
        """Sort the gaps of `streams` by when they were, relative to `reply`."""
        all_began = max(stream.arrived_at[0] for stream in streams)
        gaps = [pair for stream in streams for pair in pairwise(stream.arrived_at)]
        asked_at, read_at = reply.asked_at, reply.arrived_at[0]
        return cls(
            first_s=reply.first_s,
            idle_gaps_s=[b - a for a, b in gaps if all_began <= a and b <= asked_at],
            reading_gaps_s=[b - a for a, b in gaps if asked_at < b and a < read_at],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rows = measure(QUICK if options.quick else FULL)
    for row in rows:
        print(one_line(row))
    write_result(
        "ttft_quick" if options.quick else "ttft",
        rows,
        goals(rows),
        command="python benchmarks/ttft.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def measure(size: Size) -> list[Row]:
    """All rows."""
    model = load_model(ModelConfig(context_length=size.context_length))
    beside: list[Beside] = []
    with ExitStack() as stack:
        engine = stack.enter_context(served(model, EngineConfig()))
        llama, why_not = open_llama(stack, model.context_length)
        prompts = Prompts(model.tokenizer, size.prompt)
        streams = text_prompts(model.tokenizer, STREAM_PROMPT)

        def read_beside() -> float:
            running = [asked(prompt, STREAM_TOKENS) for prompt in islice(streams, RUNNING)]
            work = read_while_running(engine.engine, running, asked(prompts.cold(), 1))
            beside.append(engine.run(work))
            return beside[-1].first_s

        contest = readers(CLAWJAX, lambda prompt: first_s(engine, prompt), prompts)
        contest[CLAWJAX, BESIDE] = read_beside
        if llama is not None:
            contest |= readers(LLAMA, llama, Prompts(model.tokenizer, size.prompt))
        measured = in_turn(
            {", ".join(key): call for key, call in contest.items()}, rounds=size.rounds
        )
    missing = [{"kind": "missing", "contestant": LLAMA, "why": why_not}] if why_not else []
    seconds = {key: measured[", ".join(key)] for key in contest}
    return [*missing, *time_rows(seconds), *gap_rows(beside[-size.rounds :])]


def readers(name: str, read: ReadFirst, prompts: Prompts) -> dict[tuple[str, str], TimeIt]:
    """A contestant's cold and warm reading."""
    return {
        (name, COLD): lambda: read(prompts.cold()),
        (name, WARM): lambda: read(prompts.warm()),
    }


def first_s(engine: Served, prompt: Prompt) -> float:
    """Seconds to the first token of an engine with nothing else to do."""
    return engine.replies([asked(prompt, 1)])[0].first_s


def open_llama(stack: ExitStack, capacity: int) -> tuple[ReadFirst | None, str | None]:
    """llama.cpp where it is installed, and why not where it is not."""
    try:
        peer = stack.enter_context(Peer("llama", "llama"))
        peer.call("load", path=str(default_model_file()))
    except PeerError as error:
        return None, str(error)
    return lambda p: peer.call("first_token", prompt=p, capacity=capacity)["seconds"], None


async def read_while_running(
    engine: Engine, running: Sequence[GenerateRequest], long: GenerateRequest
) -> Beside:
    """Ask for `long` once all of `running` have some tokens; cancel them once it has its first.

    Raises:
        RuntimeError: a running reply ended before: it has to be asked for more tokens.
    """
    streams = [Reply(request) for request in running]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(stream.receive(engine)) for stream in streams]
        await asyncio.gather(*(stream.has(IDLE_TOKENS + 1) for stream in streams))
        reply = Reply(long)
        await reply.receive(engine)
        if any(task.done() for task in tasks):
            msg = f"a reply of {running[0].sampling.max_response_tokens} tokens ended too early"
            raise RuntimeError(msg)
        for task in tasks:
            task.cancel()
    return Beside.of(reply, streams)


def time_rows(seconds: Mapping[tuple[str, str], Sequence[float]]) -> list[Row]:
    """Times of everybody, and of each the share of a cold prompt's time that a warm one takes."""
    machine_load = load()
    times = [
        {"kind": "first token", "contestant": name, "case": case, "load": machine_load}
        | spread(values).as_row("seconds")
        for (name, case), values in seconds.items()
    ]
    shares = [
        {"kind": "warm over cold", "contestant": name}
        | ratios(values, seconds[name, COLD]).as_row("ratio")
        for (name, case), values in seconds.items()
        if case == WARM
    ]
    return [*times, *shares]


def gap_rows(rounds: Sequence[Beside]) -> list[Row]:
    """Gaps between the tokens of running replies, without and with a prompt being read."""
    idle = [one.idle_gaps_s for one in rounds]
    reading = [one.reading_gaps_s for one in rounds]
    worst = ratios([max(gaps) for gaps in reading], [max(gaps) for gaps in idle])
    return [
        gap_row("idle", idle),
        gap_row("reading", reading),
        {"kind": "worst gap, reading over idle"} | worst.as_row("ratio"),
    ]


def gap_row(when: str, rounds: Sequence[Sequence[float]]) -> Row:
    gaps = list(chain.from_iterable(rounds))
    return {
        "kind": "gaps",
        "when": when,
        "gaps": len(gaps),
        "median_s": median(gaps),
        "p99_s": float(np.quantile(gaps, 0.99)),
    } | spread([max(one) for one in rounds]).as_row("worst_s")


def goals(rows: Sequence[Row]) -> list[Goal]:
    """What a warm prompt saves, and what a long one costs the others."""

    def ratio(kind: str, **values: str) -> float:
        wanted = {"kind": kind} | values
        return next(row["ratio"] for row in rows if wanted.items() <= row.items())

    warm = ratio("warm over cold", contestant=CLAWJAX)
    gap = ratio("worst gap, reading over idle")
    return [
        Goal("first token of a warm prompt over a cold one's", "<=", 1 / 8, warm, "of the time"),
        Goal(f"worst gap of {RUNNING} running replies, reading over idle", "<=", 2, gap, "times"),
    ]


if __name__ == "__main__":
    main()
