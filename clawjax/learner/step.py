"""One update, of one or more optimiser steps: the only place where training is jitted.

Owns the train state's evolution. Blind to the algorithm: it sees advantages and weights, not where
they came from. Invariants: the base model's weights never change; the gradient of a batch does
not depend on how it was divided; a result that is not finite, or a trainer that disagrees with
the sampler about the same policy, stops the run with the batch written out. It is not sanitised.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from clawjax.config import LearnerConfig, ObjectiveConfig, Teacher
from clawjax.errors import LearnerError
from clawjax.learner import diagnostics
from clawjax.learner.batching import Batch, MicroBatch, joined
from clawjax.learner.decoder import HEAD_KEYS, Compute, StackedDecoder, stack, unstack
from clawjax.learner.diagnostics import Maxima, Sums
from clawjax.learner.scoring import Model, policy_scores
from clawjax.learner.shards import even_rows
from clawjax.learner.terms import asks_proximal, micro_loss
from clawjax.models.load import LoadedModel
from clawjax.models.lora import init_adapter, join
from clawjax.models.processes import is_leader
from clawjax.models.sharding import Placement
from clawjax.models.transformer import Params, Transformer

__all__ = ["StepResult", "TrainState", "TrainStep"]

logger = logging.getLogger(__name__)


class TrainState(NamedTuple):
    """Everything on the device that a step changes."""

    trainable: Params
    """The adapter, or all weights; layers stacked (`clawjax.learner.decoder`)."""
    opt_state: optax.OptState
    rng: Array
    """Key of the run; the adapter's first weights were drawn from it."""
    step: Array
    """int32; updates taken: the version that the newest of them made."""
    ema: Params | None = None
    """Moving average of `trainable`, where the teacher is one."""


class StepResult(NamedTuple):
    """The new state and what to tell the monitor."""

    state: TrainState
    metrics: dict[str, float]


class _Totals(NamedTuple):
    grads: Params
    seen: tuple[Sums, Maxima]


class TrainStep:
    """A training step for one model, method and objective."""

    def __init__(
        self,
        model: LoadedModel,
        *,
        objective: ObjectiveConfig,
        learner: LearnerConfig,
        failed_dir: Path,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Prepare the programs; nothing is compiled before the first step.

        Args:
            model: the base; its weights are read, never changed.
            objective: which terms run, and their settings.
            learner: method, optimiser, limits.
            failed_dir: where the batch of a failed step is written.
            timer: seconds, for throughput.
        """
        self._objective = objective
        self._learner = learner
        self._failed_dir = failed_dir
        self._timer = timer
        self._architecture = model.architecture
        self.placement = Placement.of(learner.mesh, model.architecture)
        compute = Compute.of(learner, model.architecture)
        self._base = StackedDecoder(model.architecture, placement=self.placement, compute=compute)
        self._policy = StackedDecoder(
            model.architecture,
            learner.lora if self.is_lora else None,
            placement=self.placement,
            compute=compute,
        )
        # A base that is only read is kept as it is read; all weights are trained in fp32.
        params = self._base.rounded(model.params) if self.is_lora else model.params
        self._base_params = self.placement.place(stack(params))
        self._optimizer = optax.chain(
            optax.clip_by_global_norm(learner.max_grad_norm),
            optax.adamw(
                _learning_rate(learner),
                b1=learner.beta1,
                b2=learner.beta2,
                eps=learner.adam_eps,
                weight_decay=learner.weight_decay,
            ),
        )
        self.traced_shapes: list[tuple[int, ...]] = []
        """Shapes the gradient was compiled for, in order; at most one per length bucket, and one
        more where a loss looks back (`terms.asks_proximal`)."""
        self._scorer = jax.jit(self._policy_logprobs)
        self._accumulate = jax.jit(self._add_micro_batch, donate_argnames=("totals",))
        self._update = jax.jit(self._apply_gradients, donate_argnames=("state",))
        self._average = jax.jit(self._moved_average, donate_argnames=("ema",))

    @property
    def has_ema(self) -> bool:
        """Whether a moving average of the policy is kept, for a teacher."""
        return self._objective.uses_teacher and self._objective.opd.teacher is Teacher.ema

    @property
    def is_lora(self) -> bool:
        """Whether only an adapter is trained."""
        return self._learner.method == "lora"

    def init(self, seed: int) -> TrainState:
        """The state at version 0: the policy equals the base model."""
        rng = jax.random.key_data(jax.random.key(seed))
        return self._beginning(rng, self._untrained(rng), step=0)

    def restart(self, state: TrainState, trainable: Params | None, *, step: int) -> TrainState:
        """Go on from other weights, after `step` steps; None is the base model.

        The optimiser and an average begin anew: what they remember led elsewhere.
        """
        if trainable is None:
            trainable = self._untrained(state.rng)
        copied = jax.tree.map(jnp.array, self.placement.place(trainable))
        return self._beginning(state.rng, copied, step=step)

    def _untrained(self, rng: Array) -> Params:
        if self.is_lora:
            key = jax.random.wrap_key_data(rng)
            shapes = jax.eval_shape(unstack, self._base_params)
            adapter = init_adapter(Transformer(self._architecture), shapes, self._learner.lora, key)
            return self.placement.place(stack(adapter))
        # A copy: the state is donated at every step, the base has to stay.
        return jax.tree.map(jnp.array, self._base_params)

    def _beginning(self, rng: Array, trainable: Params, *, step: int) -> TrainState:
        opt_state = self.placement.made(self._optimizer.init, trainable)
        ema = jax.tree.map(jnp.array, trainable) if self.has_ema else None
        rng = self.placement.everywhere(rng)
        return TrainState(trainable, opt_state, rng, self._numbered(step), ema)

    def _numbered(self, step: int) -> Array:
        return self.placement.everywhere(jnp.asarray(step, jnp.int32))

    @property
    def base(self) -> Model:
        """The model that the policy started as."""
        return Model(self._base, self._base_params)

    def policy(self, state: TrainState) -> Model:
        """The policy that is being trained; not to be used once `state` is donated."""
        return self.model(state.trainable)

    def teacher(self, state: TrainState) -> Model:
        """Who reads the hints, as `objective.opd.teacher` says."""
        match self._objective.opd.teacher:
            case Teacher.base:
                return self.base
            case Teacher.policy:
                return self.policy(state)
            case Teacher.ema:
                return self.model(state.ema)

    def model(self, trainable: Params) -> Model:
        """The policy that these trained weights make."""
        params = join(self._base_params, trainable) if self.is_lora else trainable
        return Model(self._policy, params)

    def run(self, state: TrainState, batches: Sequence[Batch]) -> StepResult:
        """Consume mini-batches, one optimiser step each and epoch; `state` must not be used again.

        Args:
            state: donated.
            batches: at least one. Only what the first has learnt from can be compared with the
                sampler: the others meet a policy that has moved on.

        Raises:
            LearnerError: the loss or gradient is not finite, or sampler and trainer disagree.
        """
        started = self._timer()
        step = int(state.step) + 1
        epochs = self._learner.epochs
        batches = [even_rows(batch, self.placement.shards) for batch in batches]
        proximal = self._proximal(state, batches) * epochs
        first, *others = [*batches] * epochs
        seen, norms = [], []
        for batch, old in zip([first, *map(_not_comparable, others)], proximal, strict=True):
            state, sums, norm = self._take(state, batch, old)
            seen.append(sums)
            norms.append(norm)
        state = state._replace(step=self._numbered(step))
        metrics = diagnostics.batch_metrics(batches)
        metrics |= diagnostics.step_metrics(
            *diagnostics.mean_over_steps(seen),
            has_rl=self._objective.uses_scores and metrics["train/rl_turns"] > 0,
            has_opd=self._objective.uses_teacher and metrics["train/opd_turns"] > 0,
            has_kl=self._objective.kl_coef > 0,
        )
        metrics["train/grad_norm"] = sum(norms) / len(norms)
        metrics["train/optimizer_steps"] = float(len(seen))
        metrics["train/learning_rate"] = self._rate(state)
        metrics["train/seconds"] = self._timer() - started
        metrics["train/tokens_per_s"] = metrics["train/tokens"] / metrics["train/seconds"]
        metrics["train/tokens"] /= epochs  # each of them was taken that often
        metrics["train/computed_tokens"] *= epochs
        self._check(step, batches, metrics)
        return StepResult(state, metrics)

    def averaged(self, state: TrainState) -> TrainState:
        """Once a version, when it is what it will be: the average, if any, moves towards it."""
        if state.ema is None:
            return state
        return state._replace(ema=self._average(state.ema, state.trainable))

    def _take(
        self, state: TrainState, batch: Batch, proximal: Sequence[Array | None]
    ) -> tuple[TrainState, tuple[Sums, Maxima], float]:
        """One optimiser step."""
        totals = _Totals(
            jax.tree.map(jnp.zeros_like, state.trainable),
            self.placement.everywhere(diagnostics.zeros()),
        )
        for micro, old in zip(batch.micro_batches, proximal, strict=True):
            totals = self._accumulate(
                state.trainable,
                self._base_params,
                totals=totals,
                micro=self.placement.place_rows(micro),
                proximal=old,
            )
        seen = jax.device_get(totals.seen)
        state, norm = self._update(state=state, grads=totals.grads)
        return state, seen, float(norm)

    def _proximal(
        self, state: TrainState, batches: Sequence[Batch]
    ) -> list[tuple[Array | None, ...]]:
        """The policy's log-probs before the update, `[B, T]` each; None where it is not asked."""
        is_single = len(batches) * self._learner.epochs == 1
        return [
            tuple(
                self._scorer(state.trainable, self._base_params, self.placement.place_rows(micro))
                if not is_single and asks_proximal(self._objective, micro)
                else None
                for micro in batch.micro_batches
            )
            for batch in batches
        ]

    def _policy_logprobs(self, trainable: Params, frozen: Params, micro: MicroBatch) -> Array:
        params = join(frozen, trainable) if self.is_lora else trainable
        return policy_scores(Model(self._policy, params), micro, is_head_trained=False).logprobs

    def _add_micro_batch(
        self,
        trainable: Params,
        frozen: Params,
        *,
        totals: _Totals,
        micro: MicroBatch,
        proximal: Array | None,
    ) -> _Totals:
        """Add one micro-batch's gradients and sums. Traced as `traced_shapes` says."""
        shape = micro.token_ids.shape
        self.traced_shapes.append((*shape, micro.support_ids.shape[-1]))
        logger.info("compiling the training step for %d x %d tokens", *shape)

        def loss(weights: Params) -> tuple[Array, tuple[Sums, Maxima]]:
            params = join(frozen, weights) if self.is_lora else weights
            new = policy_scores(
                Model(self._policy, params), micro, is_head_trained=bool(HEAD_KEYS & set(weights))
            )
            base = None
            if self._objective.kl_coef > 0:
                scores = policy_scores(Model(self._base, frozen), micro, is_head_trained=False)
                base = jax.lax.stop_gradient(scores.logprobs)
            return micro_loss(new, base, micro, self._objective, proximal_logprobs=proximal)

        grads, seen = jax.grad(loss, has_aux=True)(trainable)
        added = self.placement.kept(jax.tree.map(jnp.add, totals.grads, grads))
        return _Totals(added, diagnostics.merge(totals.seen, seen))

    def _apply_gradients(self, *, state: TrainState, grads: Params) -> tuple[TrainState, Array]:
        norm = optax.tree.norm(grads)
        updates, opt_state = self._optimizer.update(grads, state.opt_state, state.trainable)
        trainable = optax.apply_updates(state.trainable, updates)
        moved = TrainState(trainable, opt_state, state.rng, state.step, state.ema)
        return self.placement.kept(moved), norm

    def _moved_average(self, ema: Params, trainable: Params) -> Params:
        rate = 1.0 - self._objective.opd.ema_decay
        return self.placement.kept(optax.incremental_update(trainable, ema, rate))

    def _rate(self, state: TrainState) -> float:
        """The step size of the last optimiser step."""
        (_, count), *_ = optax.tree_utils.tree_get_all_with_path(state.opt_state, "count")
        rate = _learning_rate(self._learner)
        return float(np.asarray(rate(count - 1) if callable(rate) else rate))

    def _check(self, step: int, batches: Sequence[Batch], metrics: dict[str, float]) -> None:
        problem = self._problem(metrics)
        if problem is None:
            return
        file = self._failed_dir / f"step_{step}.npz"
        if is_leader():
            _dump(file, joined(batches))
        msg = f"step {step} is not to be trusted: {problem}. Its batch is in {file}"
        raise LearnerError(msg)

    def _problem(self, metrics: dict[str, float]) -> str | None:
        for name in ("train/loss", "train/grad_norm"):
            if not math.isfinite(metrics[name]):
                return (
                    f"{name} is {metrics[name]}; look for non-finite log-probs in the batch, "
                    "lower learner.learning_rate or objective.ratio_cap"
                )
        mismatch = metrics.get("train/mean_abs_logprob_diff", 0.0)
        if not mismatch <= self._learner.max_mismatch:
            return (
                f"sampler and trainer differ by {mismatch:.4g} nats per token at the same version, "
                f"above learner.max_mismatch={self._learner.max_mismatch}; make sure that the "
                "engine serves the weights and the precision that the learner trains"
            )
        return None


def _learning_rate(learner: LearnerConfig) -> optax.ScalarOrSchedule:
    """Constant, after a linear rise over the first steps of an optimiser's life."""
    peak, steps = learner.learning_rate, learner.warmup_steps
    if steps == 0:
        return peak
    return optax.linear_schedule(peak / (steps + 1), peak, transition_steps=steps)


def _not_comparable(batch: Batch) -> Batch:
    """The same for a policy that has moved on since its tokens were sampled."""
    micros = (
        micro._replace(is_comparable=np.zeros_like(micro.is_comparable))
        for micro in batch.micro_batches
    )
    return batch._replace(micro_batches=tuple(micros))


def _dump(file: Path, batch: Batch) -> None:
    """Write a batch where a person can look at it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{index}/{name}": getattr(micro, name)
        for index, micro in enumerate(batch.micro_batches)
        for name in MicroBatch._fields
    }
    for index, spans in enumerate(batch.spans):
        arrays[f"{index}/turn_ids"] = np.array([span.turn_id for span in spans])
        arrays[f"{index}/spans"] = np.array([span[1:] for span in spans])
    np.savez_compressed(file, **arrays)
