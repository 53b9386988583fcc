"""The training loop: when a step starts, what becomes of every turn, and what is said of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learner_records import make_sample, next_state
from learner_runs import LORA, OBJECTIVE, VOCAB, Run, config
from policies import LENGTH, as_sampled, scores, served_params
from turn_records import make_turn

from clawjax.config import (
    Baseline,
    EngineConfig,
    GatewayConfig,
    RewardConfig,
)
from clawjax.errors import LearnerError
from clawjax.gateway.feedback import Feedback, FeedbackService
from clawjax.learner.build import build_learner
from clawjax.learner.loop import Learner
from clawjax.log.forgetting import forget
from clawjax.models.load import LoadedModel
from clawjax.records import (
    Sample,
    SamplingParams,
    TurnKind,
    Verdict,
)
from clawjax.testing import RecordingMonitor, temporary_log
from clawjax.weights import DirectoryWeightStore


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


def test_each_step_says_in_the_log_and_to_the_monitor_what_it_minimised(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.record_many(4)
    with caplog.at_level("INFO"):
        assert run.learner().sweep()
    formula = "L = mean_rl[ -min(tr(r) A, clip(r, 0.8, 1.28) A) ]"
    assert run.monitor.texts == [{"train/objective": formula, "train/terms": "L_rl 4 turns"}]
    assert f"{formula}; L_rl 4 turns" in caplog.text


def test_only_the_steps_that_were_named_are_traced(run: Run) -> None:
    run.record_many(8)
    learner = run.learner(profile_steps=[2])
    assert learner.sweep()
    assert not (run.folder / "profile").exists()
    assert learner.sweep()
    assert [path.name for path in (run.folder / "profile").iterdir()] == ["step_000002"]
    (trace,) = (run.folder / "profile" / "step_000002" / "process_0").rglob("*.xplane.pb")
    content = trace.read_bytes()
    assert b"step_num" in content, "the step is marked for tools that look at steps"
    assert b"/host:CPU" in content


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


def test_a_clock_that_goes_back_holds_no_step_up(run: Run) -> None:
    learner = run.learner()
    run.record_many(2)
    run.now -= 20
    assert not learner.sweep(), "for so little no step is begun"
    run.now -= 3600
    assert learner.sweep()
    assert run.trained() == {"t00": 1, "t01": 1}


def test_the_oldest_ready_turn_waits_no_longer_than_max_wait(run: Run) -> None:
    learner = run.learner()
    run.record_many(2)
    for _ in range(5):
        run.now += 11
        run.log.append(make_turn(f"side{run.now}", arrived_at=run.now))  # traffic goes on
        assert not learner.sweep()
    run.now += 5
    assert learner.sweep()


def test_choices_to_be_compared_wait_for_one_another(run: Run) -> None:
    learner = run.learner()
    learner.intake.objective = replace(OBJECTIVE, baseline=Baseline.grpo)
    run.record_many(4)
    first = run.log.turns()[0].turn
    late = replace(first, turn_id="late", choice=1)
    run.log.append(late)
    assert not learner.sweep()
    run.log.append(next_state(turn_id="late"), Verdict("late", "rules", -1.0, judged_at=run.now))
    assert learner.sweep()
    assert first.turn_id in run.trained()


def test_drops_are_recorded_with_their_reason_and_pending_is_left_alone(run: Run) -> None:
    sample = make_sample("long", 20, 20)
    run.record(sample, 1.0)
    run.record(make_sample("side"), 1.0, kind=TurnKind.SIDE)
    run.record(make_sample("unsure"), None)
    run.log.append(make_turn("waiting"), next_state(turn_id="waiting"))
    learner = run.learner()
    assert not learner.sweep()
    assert run.log.counts().dropped == {"too_long": 1, "side": 1}  # there may be more to come
    run.now += learner.config.max_wait_s
    assert not learner.sweep()
    assert run.trained() == {}
    counts = run.log.counts()
    assert counts.dropped == {"too_long": 1, "side": 1, "abstained": 1}
    assert counts.pending == 1


def test_a_batch_of_a_content_user_is_settled_and_changes_nothing(run: Run) -> None:
    learner = run.learner(rest_above=0.4)
    for n, score in enumerate((1.0, 1.0, 1.0, -0.2)):
        run.record(make_sample(f"well{n}"), score)
    before = jax.tree.map(np.asarray, learner.versions.state.trainable)
    run.now += 1000
    assert not learner.sweep()
    chex.assert_trees_all_equal(learner.versions.state.trainable, before)
    assert run.log.counts().dropped == {"content": 4}
    assert run.monitor.entries == [(0, {"train/reward_mean": 0.7, "train/rested": 1.0})]
    mixed = [make_sample(f"mixed{n}", vocab=VOCAB, seed=n) for n in range(4)]
    mixed = as_sampled(run.model, run.model.params, mixed, version=0)
    for sample, score in zip(mixed, (1.0, 1.0, -1.0, -1.0), strict=True):
        run.record(sample, score)
    run.now += 1000
    assert learner.sweep()
    assert learner.version == 1


def test_what_became_stale_is_dropped(run: Run) -> None:
    run.record_many(10)
    learner = run.learner(max_staleness=1, min_turns=2)
    assert learner.sweep()
    assert learner.sweep()
    assert not learner.sweep()
    assert run.log.counts().dropped == {"stale": 2}
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
    learner.reporter.monitor = Stopping(stop)
    learner.run(stop)
    assert len(run.trained()) == 4
    assert run.lineage() == [(1, 0)]


class Stopping(RecordingMonitor):
    """Asks to stop as soon as there is news."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self.stop = stop

    def log(
        self,
        metrics: Mapping[str, float],
        *,
        step: int | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        self.stop.set()


def test_a_policy_learns_what_is_praised(run: Run) -> None:
    """Even tokens are praised, odd ones criticised; within eight steps, even is the rule."""
    learner = run.learner(batch_turns=16)
    rng = np.random.default_rng(0)
    shares = []
    for step in range(8):
        params = served_params(run.model, learner.versions.state, LORA)
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
    def built(**changes: Any) -> Learner:
        return build_learner(
            model=tiny_model,
            objective=OBJECTIVE,
            learner=config(**changes),
            reward=RewardConfig(),
            log=log,
            store=DirectoryWeightStore(tmp_path / "weights"),
            monitor=RecordingMonitor(),
            run_dir=tmp_path,
            seed=7,
            engine=EngineConfig(),
            gateway=GatewayConfig(),
            fixed_text="",
        )

    log = temporary_log(tmp_path)
    assert built().version == 0
    assert built().version == 0
    assert {path.name for path in tmp_path.iterdir()} >= {"checkpoints", "turns.db"}
    first = built()
    first.versions.checkpoints.save(
        first.versions.state._replace(step=jnp.asarray(1)), first.versions.progress
    )
    for changes, named in (
        ({"lora": replace(LORA, alpha=8.0)}, r"alpha=32\.0, this run has alpha=8\.0"),
        ({"warmup_steps": 4}, "warmup_steps=0, this run has warmup_steps=above 0"),
    ):
        with pytest.raises(LearnerError, match=named):
            built(**changes)
    assert built().version == 1
    assert not (tmp_path / "checkpoints.damaged").exists()


def test_truncated_sampling_is_no_mismatch(run: Run) -> None:
    """Log-probs of a truncated distribution are right for the ratio, and no sign of a fault."""
    samples = [make_sample(f"t{i}", 4, 6, seed=i + 1, vocab=VOCAB) for i in range(4)]
    for sample in samples:  # made-up log-probs, far from the model's
        run.record(sample, 1.0, sampling=SamplingParams(max_response_tokens=8, top_p=0.5))
    assert run.learner().sweep()
    assert run.monitor.entries[0][1]["train/mismatch_tokens"] == 0


def test_what_was_forgotten_while_a_step_began_is_not_trained_on(run: Run) -> None:
    run.record_many(4)
    learner = run.learner()
    credit = learner.maker.reader.credit

    def forgets_meanwhile(turns: Any, state: Any, ratios: Any) -> Any:
        turn = turns[0].turn
        forget(run.log, now=run.now, scope=turn.scope, session_id=turn.session_id)
        return credit(turns, state, ratios)

    learner.maker.reader.credit = forgets_meanwhile
    assert not learner.sweep()
    assert run.trained() == {}
    assert run.log.claimed() == 0
    assert run.lineage() == []


def test_who_rates_a_turn_while_a_step_reads_it_is_told_that_it_is_too_late(run: Run) -> None:
    run.record_many(4)
    learner = run.learner()
    credit, answers = learner.maker.reader.credit, []
    feedback = FeedbackService(
        run.log,
        None,  # pyright: ignore[reportArgumentType] - no session is closed
        clock=lambda: run.now,
        on_linked=lambda: None,
    )

    def rated_meanwhile(turns: Any, state: Any, ratios: Any) -> Any:
        rating = Feedback(turns[0].turn.response_id, 0, -1.0, None, is_session_done=False)
        answers.append(asyncio.run(feedback.give(rating, None)))
        return credit(turns, state, ratios)

    learner.maker.reader.credit = rated_meanwhile
    assert learner.sweep()
    (answer,) = answers
    assert (answer["used"], answer["reason"]) == (
        False,
        "the turn is being trained on already, in step 1",
    )
    assert run.trained().keys() == {"t00", "t01", "t02", "t03"}


def test_a_step_that_is_not_to_be_trusted_frees_its_turns(run: Run) -> None:
    for index in range(4):  # with made-up log-probs, far from the model's
        run.record(make_sample(f"t{index}", 4, 6, seed=index + 1, vocab=VOCAB), 1.0)
    with pytest.raises(LearnerError, match="step 1 is not to be trusted"):
        run.learner().sweep()
    assert (run.log.claimed(), run.trained(), run.lineage()) == (0, {}, [])
