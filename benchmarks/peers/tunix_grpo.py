"""tunix's `GRPOLearner` with its own ("vanilla") sampler: one call of `train`, fed step by step.

Set up as in its GRPO example, without a reference model (`beta=0`), since no contestant has one.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import _tunix_model
import jax
import numpy as np
from _measure import peak_bytes
from _reward import reward
from _serve import serve
from transformers import AutoTokenizer
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig

_FOREVER = 1_000_000
_TIMEOUT_S = 900.0
_NEVER = -1  # no token; an end-of-sequence id that lets every reply have its full length


class _Cluster(RLCluster):
    """Tells how much of a step was generation."""

    generate_s = 0.0
    completion_tokens = 0

    def generate(self, *arguments: Any, **settings: Any) -> Any:
        """As tunix's, with a clock."""
        started = time.perf_counter()
        output = super().generate(*arguments, **settings)
        self.generate_s = time.perf_counter() - started
        self.completion_tokens = sum(len(ids) for ids in output.tokens)
        return output


class Contestant:
    """One model in training."""

    def load(self, method: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Prepare to train `full` or `lora`."""
        self._settings = settings
        self._mesh = _tunix_model.mesh()
        self._tokenizer = AutoTokenizer.from_pretrained(_tunix_model.FOLDER)
        with jax.set_mesh(self._mesh):
            self._model = _tunix_model.load(self._mesh)
            if method == "lora":
                self._model = _tunix_model.with_lora(
                    self._model, rank=settings["rank"], alpha=settings["alpha"]
                )
        self._asked: queue.Queue[list[str]] = queue.Queue()
        self._done: queue.Queue[float | Exception] = queue.Queue()
        self._learner: GRPOLearner | None = None
        return {"version": f"google-tunix {version('google-tunix')}, jax {jax.__version__}"}

    def step(self, prompts: list[str], group: int, tokens: int) -> dict[str, Any]:
        """Sample `group` replies to each prompt and train on them."""
        rendered = [self._render(prompt) for prompt in prompts]
        counts = [len(self._tokenizer.encode(text)) for text in rendered]
        if self._learner is None:
            self._start(group, tokens, longest=max(counts))
        self._asked.put(rendered)
        seconds = self._done.get(timeout=_TIMEOUT_S)
        if isinstance(seconds, Exception):
            raise seconds
        return {
            "seconds": seconds,
            "generate_s": self._cluster.generate_s,
            "train_s": seconds - self._cluster.generate_s,
            "prompt_tokens": sum(counts) * group,
            "completion_tokens": self._cluster.completion_tokens,
        }

    def _start(self, group: int, tokens: int, *, longest: int) -> None:
        padded = 1 << (longest - 1).bit_length()
        self._cluster = _Cluster(
            actor=self._model,
            tokenizer=self._tokenizer,
            cluster_config=ClusterConfig(
                role_to_mesh=dict.fromkeys((Role.ACTOR, Role.REFERENCE, Role.ROLLOUT), self._mesh),
                training_config=RLTrainingConfig(
                    actor_optimizer=_tunix_model.optimizer(self._settings),
                    eval_every_n_steps=_FOREVER,
                    max_steps=_FOREVER,
                ),
                rollout_config=RolloutConfig(
                    max_tokens_to_generate=tokens,
                    max_prompt_length=padded,
                    kv_cache_size=padded + tokens,
                    temperature=1.0,
                    eos_tokens=[_NEVER],
                ),
            ),
        )
        self._learner = GRPOLearner(
            rl_cluster=self._cluster,
            algo_config=GRPOConfig(num_generations=group, beta=0.0),
            reward_fns=_rewards,
        )
        threading.Thread(target=self._train, args=(self._learner,), daemon=True).start()

    def _train(self, learner: GRPOLearner) -> None:
        try:
            learner.train(self._batches())
        except Exception as error:
            self._done.put(error)

    def _batches(self) -> Iterator[dict[str, Any]]:
        """Asked for the next batch, the learner is done with the one before."""
        while True:
            prompts = self._asked.get()
            started = time.perf_counter()
            yield {"prompts": np.array(prompts)}
            self._done.put(time.perf_counter() - started)

    def _render(self, prompt: str) -> str:
        return self._tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )


def _rewards(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    return [reward(completion) for completion in completions]


if __name__ == "__main__":
    contestant = Contestant()
    serve({"load": contestant.load, "step": contestant.step, "peak": peak_bytes})
