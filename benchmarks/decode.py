"""How fast does the engine decode beside Hugging Face, tunix and llama.cpp, and is it right?

    python benchmarks/decode.py [--quick]

1, 4 and 16 streams of SmolLM2-135M-Instruct, 64 prompt tokens and 64 sampled ones each, through
the engine's own interface; everybody in turn, five rounds. Then the log-probs of the engine beside
those of the plain forward pass, and its greedy replies beside Hugging Face's. Needs
`bash benchmarks/peers/setup.sh`; who is not installed is left out. Under ten minutes on two quiet
cores. `--quick` is one round of short replies at 1 and 4 streams: it shows that everybody works.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

from _compare import in_turn, load, one_line, ratios, spread
from _decoders import (
    CLAWJAX_BF16,
    CLAWJAX_FP32,
    HF_BF16,
    HF_FP32,
    LLAMA,
    TUNIX,
    Contestant,
    Generate,
    Ours,
    open_rivals,
    rival,
)
from _engine import Prompt, Served, asked, served, text_prompts
from _engine_agreement import greedy_differences, sampler_mismatch
from _result import Goal, write_result

from clawjax.config import EngineConfig, ModelConfig
from clawjax.models.load import LoadedModel, load_model

PROMPT = 64
WEIGHTS = {CLAWJAX_FP32: "float32", CLAWJAX_BF16: "bfloat16"}
EITHER = tuple(WEIGHTS)
SPEED_GOALS = (
    ((CLAWJAX_FP32,), HF_FP32, (1, 4, 16), 2.5),
    (EITHER, HF_BF16, (1, 4, 16), 1.5),
    ((CLAWJAX_FP32,), TUNIX, (1, 4, 16), 1.2),
    (EITHER, LLAMA, (1, 4, 16), 1.3),
)
"""Whose decoding has to be how many times as fast as whose, at how many streams."""
SLOTS = 16

Row = dict[str, Any]


class Size(NamedTuple):
    """How much is measured."""

    streams: tuple[int, ...]
    new_tokens: int
    rounds: int
    compared: int
    """Prompts whose replies are compared."""
    context_length: int = ModelConfig.context_length
    """Of the engine; a shorter one starts sooner."""


FULL = Size((1, 4, 16), new_tokens=64, rounds=5, compared=32)
QUICK = Size((1, 4), new_tokens=16, rounds=1, compared=4, context_length=256)

NOTES = {
    "replies": "SmolLM2-135M-Instruct; prompts of 64 tokens of English, 64 new tokens, temperature "
    "1 from the whole vocabulary, no end of sequence; every contestant goes through the same "
    "prompts, none twice; two threads each",
    "decode_tokens_per_s": "streams * 63 / (seconds for 64 tokens - seconds for 1 token)",
    "all_in_tokens_per_s": "streams * 64 / seconds for 64 tokens",
    "steady_tokens_per_s": "between the last stream's first token and the first stream's last one; "
    "our engine reads prompts between decode steps, so that streams which arrive together do not "
    "begin together, and decode_tokens_per_s counts that",
    "ratio": "ours over theirs, decode_tokens_per_s of the same round",
    "clawjax": "EmbeddedEngine through generate(), engine.slots=16 at any number of streams, "
    "engine.weights_dtype as named, everything else by default",
    "HF generate": "transformers on PyTorch, dtype as named, default attention, inference_mode, "
    "one batch",
    "tunix": "tunix.generate.sampler.Sampler, fp32, cache for 128 tokens; its Llama model is given "
    "the rope_theta that it ignores, which changes no speed",
    "llama.cpp": "the Q4_1 file itself, llama_decode over all streams, a sampler per stream",
    "greedy": "fp32 engine beside HF generate fp32; where replies differ, the first position and "
    "by how much the likeliest logit was above the second there",
    "logprobs": "the sampler's log-probs beside Transformer.score of the same tokens in fp32: mean "
    "and largest absolute difference in nats, and kl in nats per token from the sampler's policy "
    "to the fp32 one, by exp(d) - 1 - d at the tokens drawn",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    rows = measure(load_model(ModelConfig(context_length=size.context_length)), size)
    for row in rows:
        print(one_line(row))
    write_result(
        "decode_quick" if options.quick else "decode",
        rows,
        goals(rows),
        command="python benchmarks/decode.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def measure(model: LoadedModel, size: Size) -> list[Row]:
    """All rows."""
    with ExitStack() as stack:
        ours = {
            name: Ours(
                stack.enter_context(
                    served(model, EngineConfig(slots=SLOTS, weights_dtype=weights_dtype))
                )
            )
            for name, weights_dtype in WEIGHTS.items()
        }
        rivals, missing = open_rivals(stack, capacity=PROMPT + size.new_tokens)
        generators = ours | {name: rival(generate) for name, generate in rivals.items()}
        contestants = {
            name: Contestant(generate, text_prompts(model.tokenizer, PROMPT))
            for name, generate in generators.items()
        }
        rows: list[Row] = [
            {"kind": "missing", "contestant": k, "why": v} for k, v in missing.items()
        ]
        for streams in size.streams:
            rows += speed_rows(contestants, ours, streams, size)
        prompts = contestants[CLAWJAX_FP32].prompts
        rows += [logprob_row(model, name, ours[name].served, prompts, size) for name in WEIGHTS]
        if HF_FP32 in rivals:
            engine = ours[CLAWJAX_FP32].served
            rows.append(greedy_row(model, engine, rivals[HF_FP32], prompts, size))
    return rows


def speed_rows(
    contestants: Mapping[str, Contestant], ours: Mapping[str, Ours], streams: int, size: Size
) -> list[Row]:
    """What everybody reached at so many streams, and by how much ours were faster."""
    measured = in_turn(
        {
            _label(name, tokens): partial(contestant.seconds, streams, tokens)
            for name, contestant in contestants.items()
            for tokens in (size.new_tokens, 1)
        },
        rounds=size.rounds,
    )
    whole = {name: measured[_label(name, size.new_tokens)] for name in contestants}
    first = {name: measured[_label(name, 1)] for name in contestants}
    decode = {
        name: decode_rates(whole[name], first[name], streams * (size.new_tokens - 1))
        for name in contestants
    }
    machine_load = load()
    speeds = [
        {"kind": "speed", "streams": streams, "contestant": name, "load": machine_load}
        | spread(decode[name]).as_row("decode_tokens_per_s")
        | spread([streams * size.new_tokens / s for s in whole[name]]).as_row("all_in_tokens_per_s")
        | steady_columns(ours[name].steady[-size.rounds :] if name in ours else ())
        for name in contestants
    ]
    return speeds + ratio_rows(decode, ours, streams)


def _label(name: str, tokens: int) -> str:
    return f"{name}, {tokens} tokens"


def decode_rates(whole_s: Sequence[float], first_s: Sequence[float], tokens: int) -> list[float]:
    """Tokens per second after the first token, round by round."""
    pairs = zip(whole_s, first_s, strict=True)
    return [tokens / (whole - first) for whole, first in pairs]


def steady_columns(rates: Sequence[float]) -> dict[str, float]:
    return spread(rates).as_row("steady_tokens_per_s") if rates else {}


def ratio_rows(
    decode: Mapping[str, Sequence[float]], ours: Iterable[str], streams: int
) -> list[Row]:
    """Each of ours over each of the others, within the rounds."""
    mine = list(ours)
    return [
        {"kind": "ratio", "streams": streams, "ours": name, "over": other}
        | ratios(decode[name], decode[other]).as_row("ratio")
        for other in decode
        if other not in mine
        for name in mine
    ]


def logprob_row(
    model: LoadedModel, name: str, engine: Served, prompts: Iterator[Prompt], size: Size
) -> Row:
    """An engine's log-probs beside the plain forward's."""
    replies = engine.sampled(list(islice(prompts, size.compared)), size.new_tokens)
    tokens = size.compared * size.new_tokens
    found = sampler_mismatch(model, replies)._asdict()
    return {"kind": "logprobs", "contestant": name, "tokens": tokens} | found


def greedy_row(
    model: LoadedModel, engine: Served, theirs: Generate, prompts: Iterator[Prompt], size: Size
) -> Row:
    """The engine's greedy replies beside Hugging Face's."""
    chosen = list(islice(prompts, size.compared))
    replies = engine.replies([asked(prompt, size.new_tokens, temperature=0) for prompt in chosen])
    parts = [
        theirs(prompts=chosen[i : i + SLOTS], new_tokens=size.new_tokens, temperature=0)["ids"]
        for i in range(0, len(chosen), SLOTS)
    ]
    differences = greedy_differences(model, replies, list(chain.from_iterable(parts)))
    return {
        "kind": "greedy",
        "prompts": len(chosen),
        "tokens": size.new_tokens,
        "identical_share": 1 - len(differences) / len(chosen),
        "differences": differences,
    }


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Speed at every number of streams, then what was drawn."""
    speed = [
        speed_goal(rows, names, over, streams, target)
        for names, over, counts, target in SPEED_GOALS
        for streams in counts
    ]
    identical = only(rows, kind="greedy").get("identical_share")
    furthest = only(rows, kind="logprobs", contestant=CLAWJAX_FP32).get("max_abs")
    return [
        *speed,
        Goal("greedy replies identical with Hugging Face's", "==", 1, identical, "share"),
        Goal("largest |sampler - plain forward|, fp32", "<=", 1e-4, furthest, "nats"),
    ]


def speed_goal(
    rows: Sequence[Row], names: Sequence[str], over: str, streams: int, target: float
) -> Goal:
    """Of the faster one of ours, which the goal names."""
    compared = [only(rows, kind="ratio", streams=streams, ours=n, over=over) for n in names]
    known = [row for row in compared if row]
    best = max(known, key=lambda row: row["ratio"], default={})
    name = best.get("ours", " or ".join(names))
    plural = "stream" if streams == 1 else "streams"
    return Goal(
        f"{name} over {over}, {streams} {plural}", ">=", target, best.get("ratio"), "times as fast"
    )


def only(rows: Sequence[Row], **values: object) -> Row:
    """The row with these values; empty where there is none."""
    found = [row for row in rows if all(row.get(key) == value for key, value in values.items())]
    return found[0] if found else {}


if __name__ == "__main__":
    main()
