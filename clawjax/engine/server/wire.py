"""`/generate` as SGLang's clients write it: from JSON to what is to be drawn. Pure.

Invariant: nothing that changes what is drawn is ignored. A sampling parameter that cannot be
honoured is refused, unless it has the value that switches it off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from clawjax.engine.sampling import MAX_TOP_LOGPROBS
from clawjax.errors import WireError
from clawjax.gateway.wire import (
    JsonObject,
    as_object,
    as_text,
    json_type,
    read_flag,
    read_integer,
    read_list,
    read_number,
    read_text,
    reject,
)
from clawjax.records import Grammar, GrammarKind, SamplingParams

__all__ = ["SEED_RANGE", "GenerateCall", "Wanted", "as_ids", "parse_generate", "read_stops"]

SEED_RANGE = 2**63

_DEFAULT_TOKENS = 128
"""SGLang's."""
_GREEDY_BELOW = 1e-6
_MAX_CHOICES = 64
_MAX_BATCH = 4096
_LARGEST_TOP_K = 2**31 - 1
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "min_new_tokens": (0,),
    "stop_regex": ([], ""),
    "logit_bias": ({},),
    "custom_params": ({},),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True, False),
    "no_stop_trim": (False,),
    "stream_interval": (1,),
}
"""What SGLang knows besides, and the values at which it changes nothing; null does not either."""
_HONOURED = {
    "max_new_tokens", "temperature", "top_p", "top_k", "min_p", "stop", "stop_token_ids",
    "ignore_eos", "n", "sampling_seed", "json_schema", "regex", "ebnf", "structural_tag",
}  # fmt: skip
_GRAMMARS = {
    "json_schema": GrammarKind.JSON_SCHEMA,
    "regex": GrammarKind.REGEX,
    "ebnf": GrammarKind.LARK,
    "structural_tag": GrammarKind.STRUCTURAL_TAG,
}
_ANY_JSON = "$$ANY$$"
"""A schema that SGLang lets everything pass by."""
_INPUTS = ("input_embeds", "image_data", "audio_data", "video_data")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One reply that a body asks for."""

    name: str
    """What the client called the prompt."""
    rid: str
    """The reply's own name: that of its prompt, numbered where it has several."""
    text: str | None
    """The prompt; None where it came as `input_ids`."""
    input_ids: tuple[int, ...]
    sampling: SamplingParams
    """0 tokens at most where nothing is to be drawn."""
    seed: int
    wants_logprobs: bool = False
    logprob_start: int | None = None
    """The first prompt token whose log-prob is wanted; None for none."""
    top_logprobs: int = 0
    has_token_texts: bool = True
    priority: int = 0
    lora_path: str | None = None
    extra_key: str | None = None
    """What was cached for a request with another one is not reused."""

    @property
    def goes_on(self) -> bool:
        """Whether there is a text for the reply to go on from."""
        return self.text != ""


@dataclass(frozen=True, slots=True)
class GenerateCall:
    """A whole body."""

    wanted: tuple[Wanted, ...]
    """Prompt by prompt, and the replies of each one after another."""
    is_batch: bool
    """Whether the answer is a list."""
    is_stream: bool


def parse_generate(
    body: JsonObject, *, new_rid: Callable[[], str], draw_seed: Callable[[], int]
) -> GenerateCall:
    """Validate a body.

    Raises:
        WireError: 400, naming the field, what was found and what is expected.
    """
    prompts, is_batch = _prompts(body)
    count = len(prompts)
    params = [
        as_object({} if one is None else one, "sampling_params")
        for one in _each(body, "sampling_params", count)
    ]
    samples = _samples(params)
    rids = _rids(body, count, new_rid)
    columns = _fields(body, count)
    wanted: list[Wanted] = []
    for index, prompt in enumerate(prompts):
        fields = {name: values[index] for name, values in columns.items()}
        sampling, seed = _sampling(params[index]), _seed(params[index], draw_seed)
        for sample in range(samples):
            name = rids[index]
            rid = name if samples == 1 else f"{name}_{sample}"
            own_seed = (seed + sample) % SEED_RANGE
            wanted.append(_wanted(fields, prompt, sampling, own_seed, name=name, rid=rid))
    return GenerateCall(
        wanted=tuple(wanted),
        is_batch=is_batch or samples > 1,
        is_stream=bool(read_flag(body, "stream")),
    )


def as_ids(value: object, field: str) -> tuple[int, ...]:
    """The value as token ids, or a refusal."""
    if not isinstance(value, list):
        reject(
            field, f"got {json_type(value)}, expected an array of token ids", code="invalid_type"
        )
    listed = cast("list[object]", value)
    for token in listed:
        if isinstance(token, bool) or not isinstance(token, int):
            reject(field, f"got {json_type(token)} in it, expected token ids", code="invalid_type")
    return tuple(cast("list[int]", listed))


def read_stops(body: JsonObject, name: str = "stop") -> tuple[str, ...]:
    """Stop strings: one, or an array of them."""
    value = body.get(name)
    words = [] if value is None else [value] if isinstance(value, str) else read_list(body, name)
    return tuple(dict.fromkeys(filter(None, (as_text(word, name) for word in words or []))))


# --- prompts -------------------------------------------------------------------------------------


def _prompts(body: JsonObject) -> tuple[list[str | tuple[int, ...]], bool]:
    for name in _INPUTS:
        if body.get(name) is not None:
            reject(name, "is not supported: this model reads text only")
    text, ids = body.get("text"), body.get("input_ids")
    if text is None and ids is None:
        msg = "At least one of text and input_ids should be provided."
        raise WireError(msg, param="input_ids")
    if text is not None and ids is not None:
        msg = "Either text or input_ids should be provided, not both."
        raise WireError(msg, param="input_ids")
    if text is not None:
        is_batch = isinstance(text, list)
        texts = cast("list[object]", text) if is_batch else [text]
        prompts: list[str | tuple[int, ...]] = [as_text(one, "text") for one in texts]
    else:
        is_batch = isinstance(ids, list) and bool(ids) and isinstance(ids[0], list)
        lists = cast("list[object]", ids) if is_batch else [ids]
        prompts = [as_ids(one, "input_ids") for one in lists]
    if not 1 <= len(prompts) <= _MAX_BATCH:
        reject("text", f"{len(prompts)} prompts: send 1 to {_MAX_BATCH} in one batch")
    return prompts, is_batch


def _samples(params: Sequence[JsonObject]) -> int:
    """How many replies each prompt gets."""
    wanted = {read_integer(one, "n", 1, _MAX_CHOICES) or 1 for one in params}
    if len(wanted) > 1:
        reject("sampling_params.n", "must be the same for all prompts of a batch")
    return wanted.pop()


def _rids(body: JsonObject, count: int, new_rid: Callable[[], str]) -> list[str]:
    said = body.get("rid")
    if said is None:
        return [new_rid() for _ in range(count)]
    if isinstance(said, str) and count > 1:
        return [f"{as_text(said, 'rid')}_{i}" for i in range(count)]
    return [as_text(one, "rid") for one in _each(body, "rid", count)]


def _each(body: JsonObject, name: str, count: int) -> Sequence[object]:
    """A field for each prompt: given once for all, or as an array."""
    value = body.get(name)
    if not isinstance(value, list):
        return [value] * count
    listed = cast("list[object]", value)
    if len(listed) != count:
        reject(name, f"has {len(listed)} entries for {count} prompts: send one each")
    return listed


# --- one reply -----------------------------------------------------------------------------------


def _fields(body: JsonObject, count: int) -> dict[str, Sequence[object]]:
    single = ("return_text_in_logprobs", "priority")
    several = ("return_logprob", "logprob_start_len", "top_logprobs_num", "lora_path", "extra_key")
    if any(_each(body, "token_ids_logprob", count)):
        reject("token_ids_logprob", "is not supported: use top_logprobs_num")
    return {name: [body.get(name)] * count for name in single} | {
        name: _each(body, name, count) for name in several
    }


def _wanted(
    fields: JsonObject,
    prompt: str | tuple[int, ...],
    sampling: SamplingParams,
    seed: int,
    *,
    name: str,
    rid: str,
) -> Wanted:
    wants_logprobs = bool(read_flag(fields, "return_logprob"))
    start = read_integer(fields, "logprob_start_len", -1)
    texts = read_flag(fields, "return_text_in_logprobs")
    tops = read_integer(fields, "top_logprobs_num", 0, MAX_TOP_LOGPROBS) or 0
    return Wanted(
        name=name,
        rid=rid,
        text=prompt if isinstance(prompt, str) else None,
        input_ids=() if isinstance(prompt, str) else prompt,
        sampling=sampling,
        seed=seed,
        wants_logprobs=wants_logprobs,
        logprob_start=None if start in (None, -1) or not wants_logprobs else start,
        top_logprobs=tops if wants_logprobs else 0,
        has_token_texts=texts is not False,
        priority=read_integer(fields, "priority", -(2**31), 2**31) or 0,
        lora_path=read_text(fields, "lora_path"),
        extra_key=read_text(fields, "extra_key"),
    )


def _sampling(params: JsonObject) -> SamplingParams:
    _refuse_unknown(params)
    tokens = read_integer(params, "max_new_tokens", 0)
    temperature = read_number(params, "temperature", 0.0, math.inf)
    top_p = read_number(params, "top_p", 0.0, 1.0)
    if top_p == 0:
        reject("top_p", "0 leaves no token: use more than 0, up to 1")
    top_k = read_integer(params, "top_k", -1, _LARGEST_TOP_K)
    if top_k == 0:
        reject("top_k", "0 leaves no token: use -1 (off) or 1 and more")
    is_greedy = temperature is not None and temperature < _GREEDY_BELOW
    stop_ids = params.get("stop_token_ids")
    return SamplingParams(
        max_response_tokens=_DEFAULT_TOKENS if tokens is None else tokens,
        temperature=0.0 if is_greedy else 1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        top_k=max(top_k or 0, 0),
        min_p=read_number(params, "min_p", 0.0, 1.0) or 0.0,
        stop=read_stops(params),
        stop_token_ids=() if stop_ids is None else as_ids(stop_ids, "stop_token_ids"),
        ignore_eos=bool(read_flag(params, "ignore_eos")),
        grammar=_grammar(params),
    )


def _grammar(params: JsonObject) -> Grammar | None:
    given = {name: text for name in _GRAMMARS if (text := read_text(params, name))}
    if len(given) > 1:
        reject("sampling_params", f"{' and '.join(given)} exclude one another: send one")
    for name, text in given.items():
        return Grammar(_GRAMMARS[name], "{}" if text == _ANY_JSON else text)
    return None


def _refuse_unknown(params: JsonObject) -> None:
    for name, value in params.items():
        if name in _HONOURED or value is None:
            continue
        if name not in _NEUTRAL:
            reject(f"sampling_params.{name[:40]}", "is unknown: remove it")
        if value not in _NEUTRAL[name]:
            reject(f"sampling_params.{name}", "is not supported: remove it")


def _seed(params: JsonObject, draw_seed: Callable[[], int]) -> int:
    said = read_integer(params, "sampling_seed", -(2**63), 2**64)
    return draw_seed() if said is None else said % SEED_RANGE
