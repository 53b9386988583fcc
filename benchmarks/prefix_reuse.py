"""How long does an agent's long request wait for its first token, and how often again?

    python benchmarks/prefix_reuse.py [--quick]

OpenClaw sends its instructions and tools with every request, "hello" included. Its recorded
sessions are read by the engine with and without prefix reuse: the whole of them by a tiny random
model with a context of 16,384, and, as SmolLM2-135M was trained for no more than 8,192 positions,
by that with the middle of the instructions left out. About half an hour on two quiet cores.
`--quick` is one round of the tiny model.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from _compare import load, one_line, ratios, spread
from _engine import Prompt, Reply, Served, asked, served
from _openclaw_sessions import (
    known_before,
    more_sessions,
    prompts,
    recorded_sessions,
    without_middle,
)
from _result import Goal, largest, smallest, write_result

from clawjax.config import EngineConfig, ModelConfig
from clawjax.models.load import LoadedModel, load_model, load_tokenizer
from clawjax.protocols import EngineStatus

TINY, DEFAULT = "random tiny", "SmolLM2-135M-Instruct"
TINY_CONTEXT, DEFAULT_CONTEXT = 16_384, 8_192
DEFAULT_PROMPT = 7_000
"""Tokens of the longest prompt that SmolLM2 is given."""
REPLY_TOKENS = 16
ENGINE = EngineConfig(slots=2, kept_prefixes=4, live_buckets=[1024, 4096, 8192, 16_384])
COLD_REQUEST = (1, 1)
"""Session and number of the one request that no engine can know anything of."""

Row = dict[str, Any]
Sessions = list[list[Prompt]]

NOTES = {
    "sessions": "two recorded sessions of OpenClaw (2026.9.6) sharing instructions and tools; "
    "replies in the histories are the recorded ones",
    "prompts": f"SmolLM2's tokenizer and template. {TINY}: whole prompts, token ids folded into "
    f"its vocabulary; {DEFAULT}: tokens are left out of what all prompts begin with until the "
    f"longest has {DEFAULT_PROMPT}",
    "first token": "seconds from asking to the first token of an engine with nothing else to do; "
    "without: engine.reuse_prefixes=false; with: true, sessions one after the other, the cache "
    "emptied before each round; known: tokens of the prompt that the engine had read before",
    "ratio": "with over without, within a round",
    "warm": "every request but the very first",
    "replies": f"{REPLY_TOKENS} tokens, greedy; logprob difference between the two, in nats",
    "hit rate": "eight sessions in turn, those recorded and six by other names, in the six rows of "
    "the engine's cache: tokens not read again over tokens of all prompts, as EngineStatus counts "
    "them; possible: what an earlier prompt began with as well, over the same",
}


class Size(NamedTuple):
    """How much is measured."""

    rounds: int
    models: tuple[str, ...]


FULL = Size(rounds=3, models=(TINY, DEFAULT))
QUICK = Size(rounds=1, models=(TINY,))
OTHERS = ("wren", "plover", "dunlin", "curlew", "bittern", "crane")
RECORDED = 2
"""Sessions that come first; the others are those, by other names."""


class Played(NamedTuple):
    """One round of sessions."""

    replies: list[Reply]
    known: list[int]
    """Tokens of each prompt that were not read again."""

    @property
    def firsts_s(self) -> list[float]:
        """Seconds to the first token of each."""
        return [reply.first_s for reply in self.replies]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in (size := QUICK if options.quick else FULL).models:
        for row in measure(name, size):
            print(one_line(row), flush=True)
            rows.append(row)
    write_result(
        "prefix_reuse_quick" if options.quick else "prefix_reuse",
        rows,
        goals(rows),
        command="python benchmarks/prefix_reuse.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def measure(name: str, size: Size) -> list[Row]:
    """All rows of a model."""
    model, sessions = contestant(name)
    timed, in_turn = sessions[:RECORDED], interleaved(sessions)
    one_by_one = list(chain.from_iterable(timed))
    with served(model, ENGINE) as engine:
        play(engine, in_turn)
        hits = hit_row(in_turn, len(sessions), engine.engine.status())
        warm = [play(engine, one_by_one) for _ in range(size.rounds)]
    with served(model, replace(ENGINE, reuse_prefixes=False)) as engine:
        cold = [play(engine, one_by_one) for _ in range(size.rounds)]
    rows = [*first_token_rows(timed, warm, cold), reply_row(warm[0], cold[0]), hits]
    return [{"model": name} | row for row in rows]


def contestant(name: str) -> tuple[LoadedModel, Sessions]:
    """A model and the prompts that it can be asked."""
    tokenizer = load_tokenizer(ModelConfig())[0]
    sessions = prompts([*recorded_sessions(), *more_sessions(OTHERS)], tokenizer)
    if name == DEFAULT:
        model = load_model(ModelConfig(context_length=DEFAULT_CONTEXT))
        return model, without_middle(sessions, DEFAULT_PROMPT)
    tiny = load_model(ModelConfig(path="random:llama"))
    size = tiny.architecture.vocab_size
    folded = [[tuple(token % size for token in p) for p in session] for session in sessions]
    longer = replace(tiny.architecture, max_positions=TINY_CONTEXT)
    return replace(tiny, architecture=longer, context_length=TINY_CONTEXT), folded


def interleaved(sessions: Sessions) -> list[Prompt]:
    """The first prompt of each, then the second of each, and so on."""
    return [p for together in zip_longest(*sessions) for p in together if p is not None]


def play(engine: Served, asked_for: Sequence[Prompt]) -> Played:
    """Ask everything in order, of an engine that knows nothing yet."""
    engine.run(engine.engine.flush())
    replies: list[Reply] = []
    known: list[int] = []
    for prompt in asked_for:
        before = engine.engine.status().cached_tokens
        replies += engine.replies([asked(prompt, REPLY_TOKENS, temperature=0.0)])
        known.append(engine.engine.status().cached_tokens - before)
    return Played(replies, known)


def first_token_rows(
    sessions: Sessions, warm: Sequence[Played], cold: Sequence[Played]
) -> Iterator[Row]:
    """One row per request."""
    places = [(s, t) for s, session in enumerate(sessions, 1) for t in range(1, 1 + len(session))]
    for index, (session, turn) in enumerate(places):
        with_s = [played.firsts_s[index] for played in warm]
        without_s = [played.firsts_s[index] for played in cold]
        yield {
            "kind": "first token",
            "session": session,
            "request": turn,
            "prompt_tokens": len(sessions[session - 1][turn - 1]),
            "known": warm[0].known[index],
            "load": load(),
            **spread(without_s).as_row("without_s"),
            **spread(with_s).as_row("with_s"),
            **ratios(with_s, without_s).as_row("ratio"),
        }


def reply_row(warm: Played, cold: Played) -> Row:
    """Whether it makes a difference to what is said."""
    pairs = list(zip(warm.replies, cold.replies, strict=True))
    equal = [pair for pair in pairs if pair[0].ids == pair[1].ids]
    differences = [
        abs(a - b)
        for one, other in equal
        for a, b in zip(one.sampler_logprobs, other.sampler_logprobs, strict=True)
    ]
    return {
        "kind": "replies",
        "compared": len(pairs),
        "differ": len(pairs) - len(equal),
        "largest_difference": max(differences, default=None),
    }


def hit_row(played: Sequence[Prompt], sessions: int, status: EngineStatus) -> Row:
    """The share of tokens that were not read again, and the share that need not have been."""
    return {
        "kind": "hit rate",
        "sessions": sessions,
        "requests": len(played),
        "prompt_tokens": status.prompt_tokens,
        "hit_rate": status.prefix_hit_rate,
        "possible": sum(known_before(played)) / sum(map(len, played)),
    }


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Warm requests wait little, say the same, and what was known is used."""

    def of(kind: str) -> list[Row]:
        return [row for row in rows if row["kind"] == kind]

    warm: dict[str, list[float]] = {}
    for row in of("first token"):
        if (row["session"], row["request"]) != COLD_REQUEST:
            warm.setdefault(row["model"], []).append(row["ratio"])
    used = [row["hit_rate"] / row["possible"] for row in of("hit rate")]
    return [
        *(_warm_goal(model, medians) for model, medians in warm.items()),
        Goal("greedy replies that reuse changes", "==", 0, _total(of("replies")), "replies"),
        Goal("tokens not read again, of those known before", ">=", 0.95, smallest(used), "share"),
    ]


def _warm_goal(model: str, medians: Sequence[float]) -> Goal:
    name = f"{model}: first token of a warm request over the same one cold, largest median"
    return Goal(name, "<=", 1 / 8, largest(medians), "of the time")


def _total(rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(row["differ"] for row in rows)


if __name__ == "__main__":
    main()
