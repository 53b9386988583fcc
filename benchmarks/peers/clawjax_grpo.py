"""Our GRPO step as a contestant: the embedded engine, the learner's step, and the weight store.

Weights are handed over as in a run: published (checksummed, on disk) and swapped in.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from _measure import peak_bytes
from _reward import reward
from _serve import serve

from clawjax.config import (
    Baseline,
    EngineConfig,
    LearnerConfig,
    ModelConfig,
    Normalisation,
    ObjectiveConfig,
)
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.learner.batching import Batch, make_batch
from clawjax.learner.credit.group import grpo
from clawjax.learner.publish import Publisher
from clawjax.learner.step import TrainState, TrainStep
from clawjax.models.load import LoadedModel, load_model
from clawjax.protocols import GenerateRequest
from clawjax.records import Message, Sample, SamplingParams
from clawjax.weights import DirectoryWeightStore

_OBJECTIVE = ObjectiveConfig(
    baseline=Baseline.grpo, normalisation=Normalisation.token_mean, kl_coef=0.0
)


class _Reply(NamedTuple):
    prompt: int
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    version: int
    text: str


class Contestant:
    """A policy that is served and trained in one process."""

    _config: LearnerConfig
    _model: LoadedModel
    _engine: EmbeddedEngine
    _train_step: TrainStep
    _publisher: Publisher
    _state: TrainState

    def __init__(self, runner: asyncio.Runner) -> None:
        """Run the engine's side of the event loop in `runner`."""
        self._runner = runner
        self._folder = Path(tempfile.mkdtemp(prefix="clawjax_grpo_"))

    def load(self, method: str, learner: dict[str, Any], slots: int) -> dict[str, Any]:
        """Start the engine with so many slots, and prepare to train `full` or `lora`."""
        self._config = LearnerConfig(method=method, **learner)
        self._model = load_model(ModelConfig())
        self._store = DirectoryWeightStore(self._folder / "weights")
        self._publisher = Publisher(self._store, self._model, self._config)
        self._train_step = TrainStep(
            self._model,
            objective=_OBJECTIVE,
            learner=self._config,
            failed_dir=self._folder / "failed_batches",
        )
        self._state = self._train_step.init(0)
        self._engine = self._runner.run(
            EmbeddedEngine.start(self._model, EngineConfig(slots=slots), self._store)
        )
        return {}

    def step(self, prompts: list[str], group: int, tokens: int) -> dict[str, Any]:
        """Sample `group` replies to each prompt, train on them, and serve the result."""
        times = [time.perf_counter()]
        rendered = [self._render(prompt) for prompt in prompts]
        replies = self._runner.run(self._replies(rendered, group, tokens))
        times.append(time.perf_counter())
        batch = self._batch(rendered, replies)
        self._state, _ = self._train_step.run(self._state, [batch])
        times.append(time.perf_counter())
        self._runner.run(self._hand_over())
        times.append(time.perf_counter())
        self._forget_old_versions()
        return {
            "seconds": times[-1] - times[0],
            "generate_s": times[1] - times[0],
            "train_s": times[2] - times[1],
            "hand_over_s": times[3] - times[2],
            "prompt_tokens": sum(map(len, rendered)) * group,
            "completion_tokens": sum(len(reply.ids) for reply in replies),
        }

    def stop(self) -> None:
        """End the engine and remove what was written."""
        if hasattr(self, "_engine"):
            self._runner.run(self._engine.aclose())
        shutil.rmtree(self._folder)

    def _render(self, prompt: str) -> tuple[int, ...]:
        tokenizer = self._model.tokenizer
        return tokenizer.encode_prompt(tokenizer.render([Message("user", prompt)]))

    async def _replies(
        self, prompts: list[tuple[int, ...]], group: int, tokens: int
    ) -> list[_Reply]:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._reply(index, prompt, seed, tokens))
                for index, prompt in enumerate(prompts)
                for seed in range(index * group, (index + 1) * group)
            ]
        return [task.result() for task in running]

    async def _reply(self, index: int, prompt: tuple[int, ...], seed: int, tokens: int) -> _Reply:
        sampling = SamplingParams(max_response_tokens=tokens, ignore_eos=True)
        request = GenerateRequest(f"reply{seed}", prompt, sampling, seed)
        chunks = [chunk async for chunk in self._engine.generate(request)]
        return _Reply(
            prompt=index,
            ids=sum((chunk.token_ids for chunk in chunks), ()),
            logprobs=sum((chunk.sampler_logprobs for chunk in chunks), ()),
            version=self._engine.status().version,
            text="".join(chunk.text for chunk in chunks),
        )

    def _batch(self, prompts: list[tuple[int, ...]], replies: list[_Reply]) -> Batch:
        credit = grpo(
            [reward(reply.text) for reply in replies],
            [reply.prompt for reply in replies],
            floor=_OBJECTIVE.deviation_floor,
        )
        return make_batch(
            [
                Sample(
                    turn_id=str(index),
                    prompt_ids=prompts[reply.prompt],
                    response_ids=reply.ids,
                    sampler_logprobs=reply.logprobs,
                    token_versions=(reply.version,) * len(reply.ids),
                    temperature=1.0,
                    credit=(advantage,) * len(reply.ids),
                )
                for index, (reply, advantage) in enumerate(zip(replies, credit, strict=True))
            ],
            version=int(self._state.step),
            length_buckets=self._config.length_buckets,
            micro_batch_tokens=self._config.micro_batch_tokens,
            is_packed=self._config.is_packed,
            normalisation=_OBJECTIVE.normalisation,
        )

    async def _hand_over(self) -> None:
        step = int(self._state.step)
        made = self._publisher.publish(self._state, parent=step - 1)
        assert made is not None
        await self._engine.swap(made)

    def _forget_old_versions(self) -> None:
        """Full weights are half a GB each; outside of the time that is measured."""
        served = int(self._state.step)
        for version in self._store.versions():
            if version.version < served:
                shutil.rmtree(version.path)


if __name__ == "__main__":
    with asyncio.Runner() as runner:
        contestant = Contestant(runner)
        try:
            serve({"load": contestant.load, "step": contestant.step, "peak": peak_bytes})
        finally:
            contestant.stop()
