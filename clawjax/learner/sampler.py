"""Draws replies of a policy in the learner's own process, as serving would draw them.

The same scheduler and programs as the embedded engine, without its thread: a call returns when all
replies have ended. Invariant: nothing is kept between calls but compiled programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax

from clawjax.config import EngineConfig, LoraConfig
from clawjax.engine.adoption import return_freed_memory
from clawjax.engine.decode import Decoder
from clawjax.engine.replies import Job
from clawjax.engine.requests import reply_limit
from clawjax.engine.scheduler import Scheduler, Weights
from clawjax.engine.text import ReplyText
from clawjax.learner.decoder import unstack
from clawjax.models import lora
from clawjax.models.load import LoadedModel
from clawjax.models.transformer import Params
from clawjax.protocols import GenerateRequest, TokenChunk
from clawjax.records import Sample

__all__ = ["Drawn", "Sampler", "drawn_sample"]


class Drawn(NamedTuple):
    """One reply, token by token."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Of the distribution it was drawn from."""


def drawn_sample(request: GenerateRequest, reply: Drawn, *, version: int) -> Sample:
    """The reply as a sample without credit, named as its request, of one policy version."""
    return Sample(
        turn_id=request.request_id,
        prompt_ids=request.prompt_ids,
        response_ids=reply.token_ids,
        sampler_logprobs=reply.logprobs,
        token_versions=(version,) * len(reply.token_ids),
        temperature=request.sampling.temperature,
        credit=None,
    )


class Sampler:
    """Samples from the policy that trained weights make of a model."""

    def __init__(
        self, model: LoadedModel, engine: EngineConfig, adapters: LoraConfig | None
    ) -> None:
        """Prepare; nothing is compiled before the first draw.

        Args:
            model: the base.
            engine: shapes.
            adapters: how trained weights change the base; None where they replace it.
        """
        self._model = model
        self._adapters = adapters
        self._decoder = Decoder(model.architecture, model.context_length, engine)
        self._merge = jax.jit(lora.merge, static_argnums=2)

    @property
    def context_length(self) -> int:
        """Tokens of a prompt and the reply to it, at most."""
        return self._model.context_length

    def draw(self, trainable: Params, requests: Sequence[GenerateRequest]) -> list[Drawn]:
        """A reply to each request, in order; a prompt that several have is read once.

        Args:
            trainable: as a train state holds it.
            requests: any number; what does not fit at once waits.

        Raises:
            WireError: a request that the engine would refuse too.
        """
        tokenizer, architecture = self._model.tokenizer, self._model.architecture
        scheduler = Scheduler(
            self._decoder,
            Weights(self._params(trainable), 0),
            eos_ids=tokenizer.eos_ids,
            new_text=lambda stops, goes_on: ReplyText(
                tokenizer.detokenizer(goes_on=goes_on), stops
            ),
        )
        chunks: dict[Job, list[TokenChunk]] = {}
        for request in requests:
            limit = reply_limit(request, architecture.vocab_size, self._model.context_length)
            chunks[Job(request, limit)] = []
        first, again = _by_novelty(chunks)
        for job in first:
            scheduler.submit(job)
        while not scheduler.is_idle:
            for job, chunk in scheduler.step():
                chunks[job].append(chunk)
            if again and all(chunks[job] for job in first):  # the prompts have been read
                for job in again:
                    scheduler.submit(job)
                again = []
        del scheduler
        return_freed_memory()
        return [_joined(parts) for parts in chunks.values()]

    def _params(self, trainable: Params) -> Params:
        """As the engine takes them: layers one by one, adapters merged."""
        if self._adapters is None:
            return unstack(trainable)
        scale = self._adapters.alpha / self._adapters.rank
        return self._merge(self._model.params, unstack(trainable), scale)


def _by_novelty(jobs: Iterable[Job]) -> tuple[list[Job], list[Job]]:
    """The first of each prompt, and those whose prompt has been read by then."""
    first: dict[tuple[int, ...], Job] = {}
    again = [job for job in jobs if first.setdefault(job.request.prompt_ids, job) is not job]
    return list(first.values()), again


def _joined(chunks: Sequence[TokenChunk]) -> Drawn:
    return Drawn(
        tuple(token for chunk in chunks for token in chunk.token_ids),
        tuple(logprob for chunk in chunks for logprob in chunk.sampler_logprobs),
    )
