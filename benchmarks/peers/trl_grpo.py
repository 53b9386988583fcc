"""TRL's `GRPOTrainer`: one call of `train`, whose steps wait for their turn.

Its defaults but for the sizes and the optimiser that all contestants have, fp32 as theirs, and no
gradient checkpointing, which would only make it slower here.
"""

from __future__ import annotations

import queue
import tempfile
import threading
import time
from typing import Any

import _torch_model
import torch
import trl
from _measure import peak_bytes
from _reward import reward
from _serve import serve
from _trl import Stopwatch, arguments
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

_FOREVER = 1_000_000
_TIMEOUT_S = 900.0


class _Turns(Stopwatch):
    """Holds every step back until it is asked for."""

    def __init__(self) -> None:
        """The first one waits already."""
        super().__init__()
        self.asked: queue.Queue[None] = queue.Queue()
        self.done: queue.Queue[float | Exception] = queue.Queue()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Wait, and start the clock."""
        self.asked.get()
        super().on_step_begin()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Tell how long it took."""
        super().on_step_end()
        self.done.put(self.steps[-1])


class _Trainer(GRPOTrainer):
    """Tells how much of a step was generation."""

    generate_s = 0.0
    completion_tokens = 0
    prompt_tokens = 0

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        started = time.perf_counter()
        output = super()._generate_and_score_completions(inputs)
        self.generate_s = time.perf_counter() - started
        self.completion_tokens = int(output["completion_mask"].sum())
        self.prompt_tokens = int(output["prompt_mask"].sum())
        return output


class Contestant:
    """One model in training."""

    def load(self, method: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Prepare to train `full` or `lora`."""
        self._settings = settings
        self._model = _torch_model.load(method, settings)
        self._trainer: _Trainer | None = None
        return {"version": f"trl {trl.__version__}, torch {torch.__version__}"}

    def step(self, prompts: list[str], group: int, tokens: int) -> dict[str, Any]:
        """Sample `group` replies to each prompt and train on them."""
        if self._trainer is None:
            self._start(prompts, group, tokens)
        assert self._trainer is not None
        self._turns.asked.put(None)
        seconds = self._turns.done.get(timeout=_TIMEOUT_S)
        if isinstance(seconds, Exception):
            raise seconds
        return {
            "seconds": seconds,
            "generate_s": self._trainer.generate_s,
            "train_s": seconds - self._trainer.generate_s,
            "prompt_tokens": self._trainer.prompt_tokens,
            "completion_tokens": self._trainer.completion_tokens,
        }

    def _start(self, prompts: list[str], group: int, tokens: int) -> None:
        self._turns = _Turns()
        self._trainer = _Trainer(
            model=self._model,
            reward_funcs=_rewards,
            args=GRPOConfig(
                **arguments(self._settings, tempfile.mkdtemp(prefix="trl_")),
                bf16=False,
                gradient_checkpointing=False,
                per_device_train_batch_size=len(prompts) * group,
                num_generations=group,
                max_completion_length=tokens,
                generation_kwargs={"min_new_tokens": tokens},
                max_steps=_FOREVER,
            ),
            train_dataset=Dataset.from_dict({"prompt": [_conversation(p) for p in prompts]}),
            processing_class=_torch_model.load_tokenizer(),
            callbacks=[self._turns],
        )
        threading.Thread(target=self._train, args=(self._trainer,), daemon=True).start()

    def _train(self, trainer: _Trainer) -> None:
        try:
            trainer.train()
        except Exception as error:
            self._turns.done.put(error)


def _conversation(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def _rewards(completions: list[list[dict[str, str]]], **_: Any) -> list[float]:
    return [reward(completion[0]["content"]) for completion in completions]


if __name__ == "__main__":
    contestant = Contestant()
    serve({"load": contestant.load, "step": contestant.step, "peak": peak_bytes})
