"""The training loop: when a step starts, and that no crash loses or repeats a turn."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from learner_records import make_sample, make_turn, next_state
from policies import LENGTH, as_sampled, scores, served_params

from clawjax.config import Baseline, LearnerConfig, LoraConfig, ObjectiveConfig, RewardConfig
from clawjax.learner.build import build_learner
from clawjax.learner.checkpoint import Checkpoints
from clawjax.learner.credit import build_credit
from clawjax.learner.loop import Learner
from clawjax.learner.publish import Publisher
from clawjax.learner.step import TrainStep
from clawjax.learner.teacher import Lesson
from clawjax.models.load import LoadedModel
from clawjax.records import (
    Sample,
    SamplingParams,
    TeacherSays,
    TurnKind,
    Verdict,
    run_lengths,
)
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


@pytest.fixture(scope="module")
def train_step(tiny_model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> TrainStep:
    """Compiled once; it keeps nothing between steps."""
    failed = tmp_path_factory.mktemp("failed")
    return TrainStep(tiny_model, objective=OBJECTIVE, learner=config(), failed_dir=failed)


class Run:
    """One run's folder, in which learners are started and die."""

    def __init__(self, folder: Path, model: LoadedModel, train_step: TrainStep) -> None:
        self.folder = folder
        self.model = model
        self.train_step = train_step
        self.log = temporary_log(folder)
        self.store = DirectoryWeightStore(folder / "weights")
        self.monitor = RecordingMonitor()
        self.now = 1000.0

    def learner(self, **changes: Any) -> Learner:
        """A process start, without the process."""
        learner = Learner(
            config=config(**changes),
            reward=RewardConfig(),
            log=self.log,
            credit=build_credit(OBJECTIVE),
            objective=OBJECTIVE,
            teacher=None,
            train_step=self.train_step,
            checkpoints=Checkpoints(self.folder / "checkpoints", keep=2, identity={"rank": 4}),
            publisher=Publisher(self.store, self.model, config(**changes)),
            monitor=self.monitor,
            state=self.train_step.init(0),
            clock=lambda: self.now,
        )
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

    def record_many(self, count: int, *, first: int = 0, score: float | None = 1.0) -> None:
        """Turns that the base model could have said."""
        samples = [
            make_sample(f"t{index:02d}", 4, 6, seed=index + 1, vocab=VOCAB)
            for index in range(first, first + count)
        ]
        for sample in as_sampled(self.model, self.model.params, samples, version=0):
            self.record(sample, score)

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


@pytest.fixture
def run(tmp_path: Path, tiny_model: LoadedModel, train_step: TrainStep) -> Run:
    return Run(tmp_path, tiny_model, train_step)


def test_a_full_batch_is_trained_checkpointed_published_and_settled(run: Run) -> None:
    run.record_many(5)
    learner = run.learner()
    assert learner.sweep()
    assert run.trained() == {"t00": 1, "t01": 1, "t02": 1, "t03": 1}
    assert run.lineage() == [(1, 0)]
    (step, metrics), *others = run.monitor.entries
    assert (step, others) == (1, [])
    assert metrics["train/reward_mean"] == 1.0
    assert metrics["train/turns"] == metrics["train/turns_total"] == 4
    assert metrics["train/mean_abs_logprob_diff"] < 1e-4
    assert not learner.sweep()


def test_when_a_step_starts(run: Run) -> None:
    learner = run.learner()
    run.record_many(1)
    run.now += 1000
    assert not learner.sweep(), "one turn is below min_turns, however long it waits"
    run.record_many(1, first=1)
    run.now += 29
    # The first turn has waited for long, which is enough with two of them.
    assert learner.sweep()
    run.record_many(3, first=2)
    run.now += 29
    assert not learner.sweep(), "three of four turns, traffic a moment ago"
    run.now += 1
    assert learner.sweep(), "traffic has rested for idle_s"
    assert run.trained() == {"t00": 1, "t01": 1, "t02": 2, "t03": 2, "t04": 2}


def test_the_oldest_ready_turn_waits_no_longer_than_max_wait(run: Run) -> None:
    learner = run.learner()
    run.record_many(2)
    for _ in range(5):
        run.now += 11
        run.log.append(make_turn(f"side{run.now}", arrived_at=run.now))  # traffic goes on
        assert not learner.sweep()
    run.now += 5
    assert learner.sweep()


def test_drops_are_recorded_with_their_reason_and_pending_is_left_alone(run: Run) -> None:
    sample = make_sample("long", 20, 20)
    run.record(sample, 1.0)
    run.record(make_sample("side"), 1.0, kind=TurnKind.SIDE)
    run.record(make_sample("unsure"), None)
    run.log.append(make_turn("waiting"), next_state(turn_id="waiting"))
    assert not run.learner().sweep()
    assert run.trained() == {}
    counts = run.log.counts()
    assert counts.dropped == {"too_long": 1, "side": 1, "abstained": 1}
    assert counts.pending == 1


class SilentTeacher:
    """Has no use for the hints of the turns that begin with `useless`."""

    def teach(self, turns: Any, *, teacher: Any, student: Any) -> Lesson:
        usable = [a.turn for a in turns if not a.turn.turn_id.startswith("useless")]
        says = {turn.turn_id: TeacherSays(turn.sampler_logprobs) for turn in usable}
        skipped = len(turns) - len(usable)
        return Lesson(says, {"no_prompt": skipped} if skipped else {})


def hinted_learner(run: Run, **changes: Any) -> Learner:
    learner = run.learner(**changes)
    learner.objective = ObjectiveConfig(name="opd", w_rl=0.0, w_opd=1.0, kl_coef=0.0)
    learner.teacher = SilentTeacher()  # pyright: ignore[reportAttributeAccessIssue]
    return learner


def record_hinted(run: Run, *turn_ids: str) -> None:
    drawn = [
        make_sample(turn_id, 4, 6, seed=index + 1, vocab=VOCAB)
        for index, turn_id in enumerate(turn_ids)
    ]
    for sample in as_sampled(run.model, run.model.params, drawn, version=0):
        run.record(sample, None)
        hint = Verdict(sample.turn_id, "quote", None, judged_at=run.now, hints=("be brief",))
        run.log.append(hint)


def test_where_no_hint_is_of_use_no_step_is_taken_and_the_reason_is_kept(run: Run) -> None:
    record_hinted(run, "useless1", "useless2", "useless3", "useless4")
    learner = hinted_learner(run)
    assert not learner.sweep()
    assert learner.version == 0
    assert run.log.counts().dropped == {"no_signal": 4}
    assert run.monitor.entries == [(0, {"train/opd_skipped/no_prompt": 4.0})]


def test_turns_without_a_signal_do_not_keep_others_from_being_trained_once(run: Run) -> None:
    record_hinted(run, "a", "useless1", "b", "useless2")
    finish(hinted_learner(run))
    assert run.trained() == {"a": 1, "b": 1}
    assert run.log.counts().dropped == {"no_signal": 2}


def test_what_became_stale_is_dropped(run: Run) -> None:
    run.record_many(10)
    learner = run.learner(max_staleness=1, min_turns=2)
    assert learner.sweep()
    assert learner.sweep()
    assert not learner.sweep()
    assert run.log.counts().dropped == {"stale": 2}
    assert set(run.trained().values()) == {1, 2}


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


CRASHES = [
    ("log", "claim", "before"),
    ("log", "claim", "after"),
    ("checkpoints", "save", "before"),
    ("checkpoints", "save", "after"),
    ("publisher", "publish", "after"),
    ("log", "settle", "before"),
    ("log", "settle", "after"),
    ("monitor", "log", "before"),
]


def finish(learner: Learner) -> None:
    while learner.sweep():
        pass


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: LoadedModel, train_step: TrainStep
) -> Run:
    """Three steps without a crash."""
    run = Run(tmp_path_factory.mktemp("undisturbed"), tiny_model, train_step)
    run.record_many(12)
    finish(run.learner())
    return run


@pytest.mark.parametrize(("part", "method", "when"), CRASHES)
def test_each_turn_is_trained_exactly_once_wherever_it_crashes(
    run: Run, undisturbed: Run, part: str, method: str, when: str
) -> None:
    run.record_many(12)
    first = run.learner()
    assert first.sweep()
    setattr(first, part, Dies(getattr(first, part), method, when))
    with pytest.raises(KeyboardInterrupt):
        first.sweep()
    second = run.learner()
    finish(second)
    assert run.trained() == undisturbed.trained()
    assert len(run.trained()) == 12
    assert run.lineage() == [(1, 0), (2, 1), (3, 2)]
    ours, theirs = run.store.load(3)[1], undisturbed.store.load(3)[1]
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        np.testing.assert_array_equal(tensor, theirs[name], err_msg=name)
    assert second.progress == undisturbed.learner().progress


def test_a_lost_checkpoint_continues_from_what_is_published(run: Run) -> None:
    run.record_many(8)
    learner = run.learner()
    learner.sweep()
    for file in (run.folder / "checkpoints" / "1" / "meta").iterdir():
        file.write_bytes(b"\0")
    revived = run.learner()
    assert revived.version == 1
    jax.tree.map(np.testing.assert_array_equal, revived.state.trainable, revived.publisher.load(1))
    assert revived.sweep()
    assert run.lineage() == [(1, 0), (2, 1)]
    assert set(run.trained().values()) == {1, 2}


def test_stops_when_told_and_at_max_steps(run: Run) -> None:
    run.record_many(12)
    stop = threading.Event()
    learner = run.learner(max_steps=2)
    learner.run(stop)
    assert learner.is_finished
    assert learner.version == 2
    stop.set()
    again = run.learner()
    again.run(stop)
    assert again.version == 2


def test_a_wish_to_stop_ends_the_loop_after_the_step(run: Run) -> None:
    run.record_many(12)
    stop = threading.Event()
    learner = run.learner()
    learner.monitor = Stopping(stop)
    learner.run(stop)
    assert len(run.trained()) == 4
    assert run.lineage() == [(1, 0)]


class Stopping(RecordingMonitor):
    """Asks to stop as soon as there is news."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self.stop = stop

    def log(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        self.stop.set()


def test_a_policy_learns_what_is_praised(run: Run) -> None:
    """Even tokens are praised, odd ones criticised; within eight steps, even is the rule."""
    learner = run.learner(batch_turns=16)
    rng = np.random.default_rng(0)
    shares = []
    for step in range(8):
        params = served_params(run.model, learner.state, LORA)
        replies = draw(run.model, params, rng, prefix=f"{step}-", version=step)
        even = [float(np.mean(np.array(reply.response_ids) % 2 == 0)) for reply in replies]
        for reply, share in zip(replies, even, strict=True):
            sampling = SamplingParams(max_response_tokens=4, temperature=reply.temperature)
            run.record(reply, 2 * share - 1, sampling=sampling)
        assert learner.sweep()
        shares.append(np.mean(even))
    assert shares[0] < 0.6
    assert max(shares) > 0.85  # at this step size a later step may overshoot
    assert set(run.trained().values()) == set(range(1, 9))


def draw(
    model: LoadedModel, params: Any, rng: np.random.Generator, *, prefix: str, version: int
) -> list[Sample]:
    """Sixteen replies of four tokens to one prompt, at a temperature that narrows the choice."""
    prompt, length, temperature = (5, 6, 7, 8), 4, 0.25
    ids = np.zeros((16, LENGTH), np.int32)
    ids[:, : len(prompt)] = prompt
    for at in range(len(prompt), len(prompt) + length):
        logits = scores(model, params, ids)[:, at - 1] / temperature
        ids[:, at] = np.argmax(logits + rng.gumbel(size=logits.shape), axis=-1)
    replies = ids[:, len(prompt) : len(prompt) + length].tolist()
    samples = [
        Sample(f"{prefix}{row:02d}", prompt, tuple(reply), (), (), temperature, ())
        for row, reply in enumerate(replies)
    ]
    return as_sampled(model, params, samples, version=version)


def test_everything_is_put_together_and_resumes(tmp_path: Path, tiny_model: LoadedModel) -> None:
    def built() -> Learner:
        return build_learner(
            model=tiny_model,
            objective=OBJECTIVE,
            learner=config(),
            reward=RewardConfig(),
            log=log,
            store=DirectoryWeightStore(tmp_path / "weights"),
            monitor=RecordingMonitor(),
            run_dir=tmp_path,
            seed=7,
            fixed_text="",
        )

    log = temporary_log(tmp_path)
    assert built().version == 0
    assert built().version == 0
    assert {path.name for path in tmp_path.iterdir()} >= {"checkpoints", "turns.db"}


def test_truncated_sampling_is_no_mismatch(run: Run) -> None:
    """Log-probs of a truncated distribution are right for the ratio, and no sign of a fault."""
    samples = [make_sample(f"t{i}", 4, 6, seed=i + 1, vocab=VOCAB) for i in range(4)]
    for sample in samples:  # made-up log-probs, far from the model's
        run.record(sample, 1.0, sampling=SamplingParams(max_response_tokens=8, top_p=0.5))
    assert run.learner().sweep()
    assert run.monitor.entries[0][1]["train/mismatch_tokens"] == 0
