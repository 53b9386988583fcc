"""A run's folder in which learners are started, and the turns that they find there."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from learner_records import make_sample, next_state
from policies import LENGTH, as_sampled
from turn_records import make_turn

from clawjax.config import Baseline, LearnerConfig, LoraConfig, ObjectiveConfig, RewardConfig
from clawjax.learner.checkpoint import Checkpoints
from clawjax.learner.credit import build_credit
from clawjax.learner.intake import Intake
from clawjax.learner.loop import Learner
from clawjax.learner.making import Maker
from clawjax.learner.profiling import Profiler
from clawjax.learner.publish import Publisher
from clawjax.learner.replay_buffer import ReplayBuffer
from clawjax.learner.replay_sync import ReplaySync
from clawjax.learner.reporter import Reporter
from clawjax.learner.scoring import Scorer
from clawjax.learner.signals import SignalReader
from clawjax.learner.step import TrainStep
from clawjax.learner.update import Updater
from clawjax.learner.versions import Versions
from clawjax.models.load import LoadedModel
from clawjax.records import Sample, Verdict, run_lengths
from clawjax.testing import RecordingMonitor, temporary_log
from clawjax.weights import DirectoryWeightStore

LORA = LoraConfig(rank=4)
OBJECTIVE = ObjectiveConfig(kl_coef=0.0, baseline=Baseline.none)
VOCAB = 200


def config(**changes: Any) -> LearnerConfig:
    defaults: dict[str, Any] = {
        "lora": LORA,
        "batch_turns": 4,
        "min_turns": 2,
        "max_wait_s": 60.0,
        "idle_s": 30.0,
        "max_tokens": LENGTH,
        "length_buckets": [LENGTH],
        "micro_batch_tokens": 4 * LENGTH,
        "learning_rate": 1e-2,
        "poll_s": 0.01,
    }
    return LearnerConfig(**defaults | changes)


class Run:
    """One run's folder, in which learners are started and die."""

    def __init__(
        self,
        folder: Path,
        model: LoadedModel,
        train_step: TrainStep,
        objective: ObjectiveConfig = OBJECTIVE,
    ) -> None:
        self.folder = folder
        self.model = model
        self.train_step = train_step
        self.objective = objective
        self.log = temporary_log(folder)
        self.store = DirectoryWeightStore(folder / "weights")
        self.monitor = RecordingMonitor()
        self.now = 1000.0

    def learner(self, *, profile_steps: Collection[int] = (), **changes: Any) -> Learner:
        """A process start, without the process."""
        settings, replay_buffer = config(**changes), ReplayBuffer()
        intake = Intake(settings, self.objective, RewardConfig(), self.log, lambda: self.now)
        reporter = Reporter(self.objective, self.monitor)
        versions = Versions(
            self.train_step,
            Checkpoints(self.folder / "checkpoints", keep=2, identity={"rank": 4}),
            Publisher(self.store, self.model, settings),
            self.train_step.init(0),
        )
        maker = Maker(
            rest_above=settings.rest_above,
            intake=intake,
            replay=ReplaySync(self.objective, RewardConfig(), self.log, replay_buffer),
            reader=SignalReader(
                objective=self.objective,
                credit=build_credit(self.objective),
                scorer=Scorer(settings),
                train_step=self.train_step,
                teacher=None,
                replay_buffer=replay_buffer,
            ),
            updater=Updater(settings, self.objective, self.train_step),
            versions=versions,
            reporter=reporter,
            profiler=Profiler(self.folder / "profile", profile_steps),
        )
        learner = Learner(settings, intake, maker, versions, reporter)
        learner.start()
        return learner

    def record(self, sample: Sample, score: float | None, **changes: Any) -> None:
        """Log a turn, the reaction to it and the verdict on that, as of now."""
        turn = make_turn(
            sample.turn_id,
            prompt_ids=sample.prompt_ids,
            response_ids=sample.response_ids,
            sampler_logprobs=sample.sampler_logprobs,
            sampler_logprobs_t1=sample.sampler_logprobs,
            token_versions=run_lengths(sample.token_versions),
            **{"arrived_at": self.now, "finished_at": self.now} | changes,
        )
        judged = Verdict(turn.turn_id, "next_state", score, judged_at=self.now)
        self.log.append(turn, next_state(turn_id=turn.turn_id, arrived_at=self.now), judged)

    def record_many(
        self, count: int, *, first: int = 0, score: float | None = 1.0, **changes: Any
    ) -> None:
        """Turns that the base model could have said."""
        samples = [
            make_sample(f"t{index:02d}", 4, 6, seed=index + 1, vocab=VOCAB)
            for index in range(first, first + count)
        ]
        for sample in as_sampled(self.model, self.model.params, samples, version=0):
            self.record(sample, score, **changes)

    def trained(self) -> dict[str, int]:
        """Version by turn; checks the balance on the way."""
        counts = self.log.counts()
        assert counts.trained + counts.pending + sum(counts.dropped.values()) == counts.logged
        outcomes = self.log.outcomes().items()
        return {
            turn_id: outcome.trained_version
            for turn_id, outcome in outcomes
            if outcome.trained_version is not None
        }

    def lineage(self) -> list[tuple[int, int | None]]:
        """Version and parent of everything published."""
        names = sorted(path.name for path in (self.folder / "weights").glob("0*"))
        versions = [self.store.load(int(name))[0] for name in names]
        return [(version.version, version.parent) for version in versions]


def finish(learner: Learner) -> None:
    while learner.sweep():
        pass


class Dies:
    """Lets a call through `before` or `after` which the process dies."""

    def __init__(self, inner: Any, method: str, when: str) -> None:
        self._inner, self._method, self._when = inner, method, when

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if name != self._method:
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._when == "after":
                attribute(*args, **kwargs)
            raise KeyboardInterrupt

        return call


def die_at(learner: Learner, part: str, method: str, when: str) -> None:
    """Let a learner die at a call of its log, its checkpoints, its publisher or its monitor."""
    owners = {"log": learner.intake, "monitor": learner.reporter}
    owner = owners.get(part, learner.versions)
    setattr(owner, part, Dies(getattr(owner, part), method, when))
