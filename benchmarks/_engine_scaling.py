"""How the engine scales: tokens per second with streams, and time per token with live context."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from statistics import median
from typing import NamedTuple

from _compare import in_turn, load, spread
from _engine import Prompt, Served, served, steady_rate, text_prompts

from clawjax.config import EngineConfig, ModelConfig
from clawjax.models.load import load_model

__all__ = ["ENGINE_NOTES", "engine_rows"]

Row = dict[str, float | str]

ENGINE_NOTES = {
    "engine": "SmolLM2-135M-Instruct in EmbeddedEngine, engine.slots=16, everything else by "
    "default; sampled at temperature 1",
    "tokens_per_s": "of all streams together while every one of them decodes: 64 prompt tokens and "
    "96 new ones each",
    "seconds_per_token": "of one stream: median time between two of its last 16 tokens, which end "
    "at x tokens of prompt and reply; attention looks at the next larger length in "
    "engine.live_buckets",
}


class Size(NamedTuple):
    """What is measured."""

    streams: tuple[int, ...]
    live: tuple[int, ...]
    new_tokens: int
    rounds: int


FULL = Size((1, 2, 4, 8, 16), (64, 128, 256, 512, 1024, 2048), new_tokens=96, rounds=5)
QUICK = Size((1, 4), (64, 256), new_tokens=32, rounds=1)
SLOTS, PROMPT, LAST = 16, 64, 16


def engine_rows(*, quick: bool) -> list[Row]:
    """Both series; all points take turns, so that a slow minute bends no curve.

    A row has `series`, `x`, `load`, and what was measured at x with its range: `tokens_per_s` where
    x is a number of streams, `seconds_per_token` where it is live tokens of context.
    """
    size = QUICK if quick else FULL
    model = load_model(ModelConfig(context_length=max(size.live)))
    text = partial(text_prompts, model.tokenizer)
    with served(model, EngineConfig(slots=SLOTS)) as engine:
        prompts = text(PROMPT)
        by_streams = {
            f"{count} streams": partial(tokens_per_s, engine, prompts, count, size.new_tokens)
            for count in size.streams
        }
        by_context = {
            f"{live} live tokens": partial(seconds_per_token, engine, next(text(live - LAST)))
            for live in size.live
        }
        measured = in_turn(by_streams | by_context, rounds=size.rounds)
    return [
        *(
            {"series": "streams", "x": count, "load": load()}
            | spread(measured[name]).as_row("tokens_per_s")
            for count, name in zip(size.streams, by_streams, strict=True)
        ),
        *(
            {"series": "context", "x": live, "load": load()}
            | spread(measured[name]).as_row("seconds_per_token")
            for live, name in zip(size.live, by_context, strict=True)
        ),
    ]


def tokens_per_s(engine: Served, prompts: Iterator[Prompt], count: int, new_tokens: int) -> float:
    """Of so many streams while all of them decode."""
    return steady_rate(engine.sampled(list(islice(prompts, count)), new_tokens))


def seconds_per_token(engine: Served, prompt: Prompt) -> float:
    """Of one stream behind a prompt; the same prompt is read only once."""
    (reply,) = engine.sampled([prompt], LAST)
    return median(reply.gaps_s)
