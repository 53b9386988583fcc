"""The training loop with a teacher: what hints and praised turns are good for, and where not."""

from __future__ import annotations

from typing import Any

from learner_records import make_sample
from learner_runs import VOCAB, Run, config, finish
from policies import as_sampled

from clawjax.config import (
    EngineConfig,
    GatewayConfig,
    ObjectiveConfig,
    OpdConfig,
    RewardConfig,
)
from clawjax.learner.build import build_learner
from clawjax.learner.loop import Learner
from clawjax.learner.teacher import Lesson
from clawjax.log.forgetting import forget
from clawjax.records import (
    DropReason,
    Outcome,
    TeacherSays,
    Verdict,
)


def test_a_term_without_turns_is_called_inactive_in_that_step(run: Run) -> None:
    run.record_many(4)
    run.objective = ObjectiveConfig(name="combined", w_opd=1.0, kl_coef=0.0)
    learner = run.learner()
    learner.maker.reader.teacher = SilentTeacher("t")  # pyright: ignore[reportAttributeAccessIssue]
    assert learner.sweep()
    (texts,) = run.monitor.texts
    assert "opd" not in texts["train/objective"]
    assert texts["train/terms"] == (
        "L_rl 4 turns; L_opd inactive: 4 with a hint that the template rejects"
    )


class SilentTeacher:
    """Has no use for the hints of the turns that begin with `useless`."""

    def __init__(self, useless: str = "useless") -> None:
        self._useless = useless

    def teach(self, turns: Any, *, teacher: Any, student: Any) -> Lesson:
        usable = [a.turn for a in turns if not a.turn.turn_id.startswith(self._useless)]
        says = {turn.turn_id: TeacherSays(turn.sampler_logprobs) for turn in usable}
        skipped = len(turns) - len(usable)
        return Lesson(says, {"no_prompt": skipped} if skipped else {})


def hinted_learner(run: Run, **changes: Any) -> Learner:
    run.objective = ObjectiveConfig(name="opd", w_rl=0.0, w_opd=1.0, kl_coef=0.0)
    learner = run.learner(**changes)
    learner.maker.reader.teacher = SilentTeacher()  # pyright: ignore[reportAttributeAccessIssue]
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
    (texts,) = run.monitor.texts
    assert texts["train/objective"] == "L = 0"
    assert texts["train/terms"] == "L_opd inactive: 4 with a hint that the template rejects"


def test_turns_without_a_signal_do_not_keep_others_from_being_trained_once(run: Run) -> None:
    record_hinted(run, "a", "useless1", "b", "useless2")
    finish(hinted_learner(run))
    assert run.trained() == {"a": 1, "b": 1}
    assert run.log.counts().dropped == {"no_signal": 2}


def test_what_was_praised_before_a_restart_is_still_an_example(run: Run) -> None:
    run.record_many(2, score=1.0)
    run.record_many(1, first=2, score=-1.0)
    were_trained(run, 3)
    built = recalling_learner(run)
    assert built.maker.reader.teacher is not None
    asked = run.log.turns()[2].turn
    assert len(built.maker.reader.teacher.examples(asked)) == 2 * 2
    assert [one.user_text for one in built.maker.reader.replay_buffer.scored(asked.scope)] == [
        "thanks"
    ] * 3


def test_what_was_forgotten_is_no_example_any_more(run: Run) -> None:
    run.record_many(3, score=1.0)
    were_trained(run, 3)
    built = recalling_learner(run)
    asked = run.log.turns()[2].turn
    forget(run.log, now=run.now, scope=asked.scope, session_id=asked.session_id)
    assert len(built.maker.reader.replay_buffer.praised(asked.scope)) == 3
    built.maker.replay.observe([])
    assert built.maker.reader.replay_buffer.praised(asked.scope) == []


def listened_to(run: Run) -> Learner:
    """One who finds a praised turn that no step was made of, and four complaints after it."""
    run.objective = ObjectiveConfig(kl_coef=0.0, replay_praised=1)
    run.record_many(1, score=1.0, session_id="past")
    run.log.append(Outcome("t00", run.now, drop_reason=DropReason.LISTENED))
    run.record_many(4, first=1, score=-1.0)
    return run.learner()


def test_a_version_that_learnt_again_from_a_turn_is_named_when_it_is_forgotten(run: Run) -> None:
    assert listened_to(run).sweep()
    assert run.monitor.entries[0][1]["train/replayed_turns"] == 1
    assert "t00" not in run.trained()
    assert forget(run.log, now=run.now, session_id="past").trained == {1: 1}


def test_what_is_forgotten_while_a_step_reads_is_not_learnt_from_again(run: Run) -> None:
    learner = listened_to(run)
    credit = learner.maker.reader.credit

    def forgets_meanwhile(turns: Any, state: Any, ratios: Any) -> Any:
        forget(run.log, now=run.now, session_id="past")
        return credit(turns, state, ratios)

    learner.maker.reader.credit = forgets_meanwhile
    assert not learner.sweep()
    assert (run.trained(), run.log.claimed()) == ({}, 0)
    learner.maker.reader.credit = credit
    assert learner.sweep()
    assert run.monitor.entries[0][1]["train/replayed_turns"] == 0


def were_trained(run: Run, count: int) -> None:
    run.log.append(*(Outcome(f"t{n:02d}", run.now, trained_version=1) for n in range(count)))


def recalling_learner(run: Run) -> Learner:
    opd = OpdConfig(hints=False, demonstrations=3, top_k=8)
    return build_learner(
        model=run.model,
        objective=ObjectiveConfig(name="combined", w_opd=1.0, opd=opd),
        learner=config(),
        reward=RewardConfig(),
        log=run.log,
        store=run.store,
        monitor=run.monitor,
        run_dir=run.folder,
        seed=7,
        engine=EngineConfig(),
        gateway=GatewayConfig(),
        fixed_text="",
    )
