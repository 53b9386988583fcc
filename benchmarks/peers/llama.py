"""llama.cpp by its low-level interface: batches of sequences, a sampler for each.

Runs in the environment `llama`. A context belongs to one kind of load, as a server's does.
"""

from __future__ import annotations

import ctypes
import logging
import os
import time
from collections.abc import Sequence
from typing import Any

import llama_cpp as llama
from _serve import serve

_models: dict[str, Any] = {}
_contexts: dict[tuple[int, int], Any] = {}
_held: list[int] = []
"""The prompt that the context of `first_token` has in its cache."""


def load(path: str) -> dict[str, Any]:
    """Read a GGUF file."""
    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    if not model:
        msg = f"{path} could not be read"
        raise ValueError(msg)
    _models["model"] = model
    return {"threads": os.cpu_count()}


def generate(
    prompts: list[list[int]], new_tokens: int, temperature: float, capacity: int
) -> dict[str, Any]:
    """Replies to prompts of equal length; temperature 0 is greedy.

    The cache has room for `capacity` tokens of each.
    """
    width = len(prompts[0])
    context = _context(len(prompts), capacity)
    llama.llama_memory_clear(llama.llama_get_memory(context), False)
    samplers = [_sampler(temperature, seed) for seed in range(len(prompts))]
    replies: list[list[int]] = [[] for _ in prompts]
    began = time.perf_counter()
    _decode(context, [(t, p, s) for s, ids in enumerate(prompts) for p, t in enumerate(ids)], width)
    for index in range(new_tokens):
        for stream, sampler in enumerate(samplers):
            row = stream if index else (stream + 1) * width - 1
            replies[stream].append(llama.llama_sampler_sample(sampler, context, row))
        if index < new_tokens - 1:
            _decode(context, [(ids[-1], width + index, s) for s, ids in enumerate(replies)], 1)
    seconds = time.perf_counter() - began
    for sampler in samplers:
        llama.llama_sampler_free(sampler)
    return {"seconds": seconds, "ids": replies}


def first_token(prompt: list[int], capacity: int) -> dict[str, Any]:
    """Read a prompt from where it differs from the one before, as llama-server does."""
    context = _context(1, capacity)
    shared = _shared(_held, prompt[:-1])
    llama.llama_memory_seq_rm(llama.llama_get_memory(context), 0, shared, -1)
    sampler = _sampler(1.0, 0)
    began = time.perf_counter()
    rest = [(token, shared + i, 0) for i, token in enumerate(prompt[shared:])]
    _decode(context, rest, len(rest))
    llama.llama_sampler_sample(sampler, context, -1)
    seconds = time.perf_counter() - began
    llama.llama_sampler_free(sampler)
    _held[:] = prompt
    return {"seconds": seconds, "read": len(rest)}


def _context(sequences: int, capacity: int) -> Any:
    """A context for so many sequences of so many tokens, made once."""
    if (sequences, capacity) not in _contexts:
        params = llama.llama_context_default_params()
        params.n_ctx = sequences * capacity
        params.n_batch = sequences * capacity
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = os.cpu_count() or 1
        context = llama.llama_init_from_model(_models["model"], params)
        if not context:
            msg = f"no context for {sequences} sequences of {capacity} tokens"
            raise ValueError(msg)
        _contexts[sequences, capacity] = context
    return _contexts[sequences, capacity]


def _sampler(temperature: float, seed: int) -> Any:
    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    if temperature:
        llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_temp(temperature))
        llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_dist(seed))
    else:
        llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_greedy())
    return chain


def _decode(context: Any, tokens: Sequence[tuple[int, int, int]], wanted_every: int) -> None:
    """Feed `(token, position, sequence)`; logits of every so-many-th are wanted."""
    batch = llama.llama_batch_init(len(tokens), 0, 1)
    try:
        batch.n_tokens = len(tokens)
        for index, (token, position, sequence) in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = ctypes.c_int8((index + 1) % wanted_every == 0)
        code = llama.llama_decode(context, batch)
    finally:
        llama.llama_batch_free(batch)
    if code:
        msg = f"llama_decode failed with {code} at {len(tokens)} tokens"
        raise RuntimeError(msg)


def _shared(held: Sequence[int], prompt: Sequence[int]) -> int:
    """Length of the common beginning."""
    pairs = zip(held, prompt, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(held), len(prompt)))


if __name__ == "__main__":
    serve({"load": load, "generate": generate, "first_token": first_token})
