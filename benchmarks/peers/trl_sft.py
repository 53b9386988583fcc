"""TRL's `SFTTrainer` on turns of many lengths, one trainer per batch of turns.

Its defaults but for what is asked for, the optimiser that all contestants have, and two batches of
8 to a step, so that a step consumes as many turns as ours.
"""

from __future__ import annotations

import tempfile
from typing import Any

import _torch_model
import trl
from _measure import peak_bytes
from _serve import serve
from _trl import Stopwatch, arguments
from datasets import Dataset, disable_progress_bars
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

_BATCH = 8  # the default of per_device_train_batch_size


class Contestant:
    """One model in training."""

    def load(self, method: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Prepare to train `full` or `lora`."""
        self._settings = settings
        self._model = _torch_model.load(method, settings)
        self._tokenizer = _torch_model.load_tokenizer()
        self._folder = tempfile.mkdtemp(prefix="trl_")
        disable_progress_bars()
        return {"version": f"trl {trl.__version__}"}

    def train(
        self, turns: list[tuple[list[int], list[int]]], options: dict[str, Any]
    ) -> dict[str, Any]:
        """Train on each turn once, in one optimiser step; `options` are fields of `SFTConfig`."""
        self._model.activation_checkpointing_disable()  # a trainer that wants it switches it on
        stopwatch = Stopwatch()
        config = SFTConfig(
            **arguments(self._settings, self._folder),
            per_device_train_batch_size=_BATCH,
            gradient_accumulation_steps=-(-len(turns) // _BATCH),
            num_train_epochs=1,
            completion_only_loss=True,
            logging_strategy="no",
            **options,
        )
        trainer = SFTTrainer(
            model=self._model,
            args=config,
            train_dataset=Dataset.from_list([_example(*turn) for turn in turns]),
            processing_class=self._tokenizer,
            callbacks=[stopwatch],
        )
        trainer.remove_callback(PrinterCallback)
        done = trainer.train()
        return {
            "seconds": sum(stopwatch.steps),
            "steps": len(stopwatch.steps),
            "nll": done.training_loss,
        }


def _example(prompt: list[int], response: list[int]) -> dict[str, list[int]]:
    """Tokenised already; what is not a response is not learnt."""
    return {
        "input_ids": prompt + response,
        "completion_mask": [0] * len(prompt) + [1] * len(response),
    }


if __name__ == "__main__":
    contestant = Contestant()
    serve({"load": contestant.load, "train": contestant.train, "peak": peak_bytes})
