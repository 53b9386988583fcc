"""One version: a step on what users said, then practice, each no farther than it may lead.

From state to state; what becomes of the turns and of the version is the loop's. Invariant: however
many updates it takes, a version is counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from clawjax.config import LearnerConfig, ObjectiveConfig
from clawjax.learner.budget import Checked, DriftBudget
from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.mini_batches import mini_batches
from clawjax.learner.practice import KnownPreference, Practice, Practised
from clawjax.learner.satisfaction import step_scale
from clawjax.learner.signals import Signals
from clawjax.learner.step import StepResult, TrainState, TrainStep
from clawjax.records import Sample

__all__ = ["Updated", "Updater"]

_OF_PRACTICE = {
    "train/loss": "train/practice_loss",
    "train/grad_norm": "train/practice_grad_norm",
    "train/clip_fraction": "train/practice_clip_fraction",
    "train/ess": "train/practice_ess",
    "drift/step_reply_kl": "train/practice_reply_kl",
}
"""What is kept of the metrics of an update on answers, and under which name."""


class Updated(NamedTuple):
    """A new version, not yet kept anywhere."""

    state: TrainState
    metrics: dict[str, float]
    drift: Checked
    practised: Practised | None
    """None where there is no practice."""


@dataclass(slots=True)
class Updater:
    """Takes the policy from one version to the next."""

    config: LearnerConfig
    objective: ObjectiveConfig
    train_step: TrainStep
    budget: DriftBudget | None = None
    """None where nothing is limited."""
    practice: Practice | None = None
    """None where nothing is learnt from answers that nobody asked for."""

    def preferences(self, turns: Sequence[AdmittedTurn]) -> dict[str, KnownPreference]:
        """Of the users of `turns`, without those of whom too little is known."""
        return {} if self.practice is None else self.practice.preferences(_scopes(turns))

    def cold_start_users(
        self, turns: Sequence[AdmittedTurn], preferences: Mapping[str, KnownPreference]
    ) -> set[str]:
        """Users who are to be listened to for longer before anything is learnt from them."""
        if self.practice is None:
            return set()
        return {
            scope for scope in _scopes(turns) if self.practice.is_cold_start(scope, preferences)
        }

    def update(
        self,
        state: TrainState,
        signals: Signals,
        turns: Sequence[AdmittedTurn],
        preferences: Mapping[str, KnownPreference],
        *,
        held: int,
        age: Callable[[int], int],
    ) -> Updated:
        """The version after `state`, which is donated.

        Args:
            state: the policy now.
            signals: what `turns` teach it.
            turns: of the batch.
            preferences: of their users.
            held: the version that `state` is.
            age: steps between a version and that one.

        Raises:
            LearnerError: a step is not to be trusted.
        """
        bound = self._bound(turns, preferences)
        samples = [*signals.samples, *signals.again]
        state, metrics = self._step(state, samples, bound=bound, age=age)
        (state, of_practice), practised = self._practise(state, preferences, held=held, age=age)
        state = self.train_step.averaged(state)
        drift = Checked({}, None)
        if self.budget is not None:
            drift = self.budget.check(self.train_step.policy(state), signals.samples)
        return Updated(state, metrics | of_practice, drift, practised)

    def _bound(
        self, turns: Sequence[AdmittedTurn], preferences: Mapping[str, KnownPreference]
    ) -> float | None:
        """How far an update may lead, in nats per reply; None where that is not limited."""
        bound = self.config.drift.max_step_reply_kl
        if bound is None:
            return None
        if self.config.drift.eases:
            bound *= step_scale(turns, self.config.rest_above)
        if self.practice is not None:
            bound *= self.practice.step_scale(_scopes(turns), preferences)
        return bound

    def _step(
        self,
        state: TrainState,
        samples: Sequence[Sample],
        *,
        bound: float | None,
        age: Callable[[int], int],
    ) -> StepResult:
        """One update, not farther than `bound` in nats per reply."""
        batches = mini_batches(
            samples,
            learner=self.config,
            objective=self.objective,
            age=age,
            version=int(state.step),
        )
        if self.budget is None or bound is None:
            return self.train_step.run(state, batches)
        before = jax.tree.map(jnp.array, state.trainable)  # the state is donated
        state, metrics = self.train_step.run(state, batches)
        shortened = self.budget.shortened(
            before,
            state.trainable,
            max_kl=bound,
            model=self.train_step.model,
            samples=samples,
        )
        state = state._replace(trainable=shortened.trainable)
        return StepResult(state, metrics | shortened.metrics)

    def _practise(
        self,
        state: TrainState,
        preferences: Mapping[str, KnownPreference],
        *,
        held: int,
        age: Callable[[int], int],
    ) -> tuple[StepResult, Practised | None]:
        """Go on with answers nobody asked for, an update each, all part of the same version."""
        if self.practice is None:
            return StepResult(state, {}), None
        practised, metrics = Practised(len(preferences)), dict[str, float]()
        for seed in self.practice.seeds(int(state.step)):
            found = self.practice.sample_round(
                preferences, state.trainable, version=held, seed=seed
            )
            if found.mean_score is not None:
                metrics["train/practice_score"] = found.mean_score
                metrics["train/practice_reach"] = found.max_kl
            if not found.samples:
                continue
            state = state._replace(step=state.step - 1)  # one version in all
            state, moved = self._step(state, found.samples, bound=found.max_kl, age=age)
            metrics |= {name: moved[key] for key, name in _OF_PRACTICE.items() if key in moved}
            practised = practised._replace(
                rounds=practised.rounds + 1, answers=practised.answers + len(found.samples)
            )
        metrics["train/practised"] = float(practised.answers)
        return StepResult(state, metrics), practised


def _scopes(turns: Sequence[AdmittedTurn]) -> list[str]:
    """Whose each turn is."""
    return [admitted.turn.scope for admitted in turns]
