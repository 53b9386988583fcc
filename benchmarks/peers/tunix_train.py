"""A step of tunix's `PeftTrainer` with its own loss (supervised fine-tuning), as documented.

Its policy-gradient step is the same trainer with another loss over the same logits. Called the way
tunix's RL learners call it, one batch at a time.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import _tunix_model
import jax
import numpy as np
from _measure import peak_bytes, timed
from _serve import serve
from tunix.sft import utils
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig, TrainingInput


class Contestant:
    """One model in training."""

    def load(self, method: str, precision: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Prepare to train `full` or `lora`."""
        assert precision == "fp32", precision
        self._mesh = _tunix_model.mesh()
        with jax.set_mesh(self._mesh):
            model = _tunix_model.load(self._mesh)
            if method == "lora":
                model = _tunix_model.with_lora(
                    model, rank=settings["rank"], alpha=settings["alpha"]
                )
            optimizer = _tunix_model.optimizer(settings)
            self._trainer = PeftTrainer(model, optimizer, TrainingConfig(eval_every_n_steps=10**9))
        self._trainer.with_gen_model_input_fn(_model_input)
        self._trainer.is_managed_externally = True
        return {"version": f"google-tunix {version('google-tunix')}, jax {jax.__version__}"}

    def prepare(self, turns: list[tuple[list[int], list[int]]]) -> dict[str, Any]:
        """Have rows of equal lengths of prompt and response as arrays."""
        ids = np.array([prompt + response for prompt, response in turns], np.int32)
        mask = np.zeros(ids.shape, bool)
        for row, (prompt, _) in zip(mask, turns, strict=True):
            row[len(prompt) :] = True
        self._batch = TrainingInput(input_tokens=ids, input_mask=mask)
        return {}

    def train(self) -> dict[str, Any]:
        """One optimiser step on what was prepared."""
        with jax.set_mesh(self._mesh):
            _, seconds = timed(lambda: self._trainer.train([self._batch]))
        found = self._trainer._prev_buffered_train_metrics  # written when the next step ends
        return {
            "seconds": seconds,
            "nll": float(found.loss),
            "gradient_norm": float(found.additional_metrics["grad_norm"][0][0]),
        }


def _model_input(batch: TrainingInput) -> dict[str, Any]:
    """Every token is there; the mask says which of them are responses."""
    is_there = batch.input_tokens >= 0
    return {
        "input_tokens": batch.input_tokens,
        "input_mask": batch.input_mask,
        "positions": utils.build_positions_from_mask(is_there),
        "attention_mask": utils.make_causal_attn_mask(is_there),
    }


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
