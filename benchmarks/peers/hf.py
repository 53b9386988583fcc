"""Hugging Face `generate` on PyTorch. Runs in the environment `torch`."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from _serve import serve
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

_loaded: dict[str, PreTrainedModel] = {}


def load(model: str, dtype: str) -> dict[str, Any]:
    """Read a model directory; `dtype` is float32 or bfloat16."""
    logging.disable_progress_bar()
    torch.set_num_threads(os.cpu_count() or 1)
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
    policy.generation_config.eos_token_id = None  # nothing ends a reply early
    policy.generation_config.pad_token_id = 0
    _loaded["policy"] = policy
    return {"threads": torch.get_num_threads()}


@torch.inference_mode()
def generate(prompts: list[list[int]], new_tokens: int, temperature: float) -> dict[str, Any]:
    """Replies to prompts of equal length, as one batch; temperature 0 is greedy."""
    ids = torch.tensor(prompts)
    drawing = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        if temperature
        else {"do_sample": False}
    )
    began = time.perf_counter()
    out = _loaded["policy"].generate(
        ids,
        attention_mask=torch.ones_like(ids),
        min_new_tokens=new_tokens,
        max_new_tokens=new_tokens,
        use_cache=True,
        **drawing,
    )
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "ids": out[:, ids.shape[1] :].tolist()}


if __name__ == "__main__":
    serve({"load": load, "generate": generate})
