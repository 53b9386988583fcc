"""A training step as transformers and PEFT document it: forward, cross-entropy, backward, AdamW.

Kind to the peer where its documentation leaves a choice: the head is computed for responses only
(`logits_to_keep`, as TRL does), attention is torch's fused one, the optimiser the fused AdamW.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import _torch_model
import torch
import transformers
from _measure import peak_bytes, timed
from _serve import serve
from torch.nn.functional import cross_entropy


class Contestant:
    """One model in training."""

    def load(self, method: str, precision: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Prepare to train `full` or `lora` in `fp32`, `autocast` (bf16) or `bf16`."""
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._model = _torch_model.load(method, settings, dtype)
        self._model.train()
        self._max_grad_norm = settings["max_grad_norm"]
        self._optimizer = torch.optim.AdamW(
            [p for p in self._model.parameters() if p.requires_grad],
            lr=settings["learning_rate"],
            betas=(settings["beta1"], settings["beta2"]),
            eps=settings["adam_eps"],
            weight_decay=settings["weight_decay"],
            fused=True,
        )
        self._precision = precision
        return {"version": f"torch {torch.__version__}, transformers {transformers.__version__}"}

    def prepare(self, turns: list[tuple[list[int], list[int]]]) -> dict[str, Any]:
        """Have rows of equal lengths of prompt and response as tensors."""
        prompts, responses = zip(*turns, strict=True)
        self._ids = torch.tensor([p + r for p, r in zip(prompts, responses, strict=True)])
        self._targets = torch.tensor(responses)
        with torch.no_grad():
            return {"nll": self._loss().item()}

    def train(self) -> dict[str, Any]:
        """One optimiser step on what was prepared."""
        norm, seconds = timed(self._step)
        return {"seconds": seconds, "gradient_norm": norm}

    def _step(self) -> float:
        self._loss().backward()
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return norm.item()

    def _loss(self) -> torch.Tensor:
        is_mixed = self._precision == "autocast"
        with torch.autocast("cpu", torch.bfloat16) if is_mixed else nullcontext():
            kept = self._targets.shape[1] + 1
            logits = self._model(input_ids=self._ids, logits_to_keep=kept).logits[:, :-1]
            return cross_entropy(logits.flatten(0, 1).float(), self._targets.flatten())


if __name__ == "__main__":
    contestant = Contestant()
    serve(
        {
            "load": contestant.load,
            "prepare": contestant.prepare,
            "train": contestant.train,
            "peak": peak_bytes,
        }
    )
