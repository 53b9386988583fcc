"""What the learner takes from the log, and what it says to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from learner_records import next_state
from turn_records import make_turn

from clawjax.config import Baseline, LearnerConfig, ObjectiveConfig, RewardConfig
from clawjax.gateway.feedback import Feedback, FeedbackService
from clawjax.learner.intake import Intake
from clawjax.log.store import SqlTurnLog
from clawjax.records import DropReason, JudgedTurn, Verdict
from clawjax.testing import temporary_log

SETTINGS = LearnerConfig(batch_turns=3, min_turns=1, idle_s=0.0)


@pytest.fixture
def log(tmp_path: Path) -> SqlTurnLog:
    """Three answers of two choices each, their prompts in turn."""
    log = temporary_log(tmp_path)
    for number in range(6):
        turn_id, prompt = f"t{number}", number % 3
        turn = make_turn(
            turn_id, prompt_ids=(prompt,), response_id=f"r{prompt}", choice=number // 3
        )
        log.append(
            turn,
            next_state(turn_id=turn_id, arrived_at=102.0),
            Verdict(turn_id, "next_state", 1.0, judged_at=103.0),
        )
    return log


def intake(log: SqlTurnLog, baseline: Baseline) -> Intake:
    objective = ObjectiveConfig(baseline=baseline)
    return Intake(SETTINGS, objective, RewardConfig(), log, lambda: 110.0)


def taken(found: Intake) -> list[str]:
    return [admitted.turn.turn_id for admitted in found.next_batch(1, lambda version: 0)]


def test_a_batch_of_replies_that_are_compared_ends_where_a_group_does(log: SqlTurnLog) -> None:
    assert taken(intake(log, Baseline.none)) == ["t0", "t1", "t2"]
    log.recover(0)
    groups = intake(log, Baseline.rloo)
    assert taken(groups) == ["t0", "t1", "t2", "t3", "t4", "t5"], "all three groups were begun"


def test_what_is_claimed_settled_or_dropped_does_not_come_again(log: SqlTurnLog) -> None:
    found = intake(log, Baseline.none)
    assert taken(found) == ["t0", "t1", "t2"]
    assert [log.claimed_by(f"t{n}") for n in range(4)] == [1, 1, 1, None]
    found.drop(["t1"], DropReason.NO_SIGNAL)
    found.drop([], DropReason.NO_SIGNAL)
    assert log.claimed_by("t1") is None
    assert found.recover(0) == 2, "the step came to nothing"
    assert taken(found) == ["t0", "t2", "t3"]
    found.settle(1)
    assert taken(found) == ["t4", "t5"]
    assert log.counts().dropped == {DropReason.NO_SIGNAL: 1}
    assert log.counts().trained == 3


def interrupted(log: SqlTurnLog, happens: Callable[[], object]) -> Any:
    """The log, in which something happens while the learner thinks about what it has read."""

    def judged(*, limit: int) -> list[JudgedTurn]:
        found = log.judged(limit=limit)
        happens()
        return found

    other = mock.Mock(wraps=log)
    other.judged = judged
    return other


def thumbs_down(log: SqlTurnLog, turn_id: str) -> dict[str, object]:
    """What who gives one is answered."""
    turn = next(one.turn for one in log.among([turn_id]))
    feedback = Feedback(turn.response_id, turn.choice, -1.0, None, is_session_done=False)
    service = FeedbackService(
        log,
        None,  # pyright: ignore[reportArgumentType] - no session is closed
        clock=lambda: 109.0,
        on_linked=lambda: None,
    )
    return asyncio.run(service.give(feedback, None))


def judge_it(log: SqlTurnLog, turn_id: str) -> None:
    log.append(Verdict(turn_id, "feedback", -1.0, judged_at=109.5))


@pytest.mark.parametrize("happens", [thumbs_down, judge_it], ids=["said", "judged"])
def test_what_happens_to_a_turn_as_it_is_taken_is_learnt_from(
    log: SqlTurnLog, happens: Callable[[SqlTurnLog, str], object]
) -> None:
    answers: list[object] = []
    found = intake(log, Baseline.none)
    found.log = interrupted(log, lambda: answers.append(happens(log, "t1")))
    assert taken(found) == []
    assert log.claimed() == 0
    assert answers in ([{"accepted": True, "used": True}], [None])
    judge_it(log, "t1")
    found.log = log
    first, second, _ = found.next_batch(1, lambda version: 0)
    assert (first.score, second.turn.turn_id, second.score) == (1.0, "t1", -1.0)


def test_what_happens_to_a_turn_after_it_was_taken_is_told_to_be_too_late(log: SqlTurnLog) -> None:
    assert taken(intake(log, Baseline.none)) == ["t0", "t1", "t2"]
    answer = thumbs_down(log, "t1")
    assert not answer["used"]
    assert answer["reason"] == "the turn is being trained on already, in step 1"


def test_a_turn_that_somebody_rates_as_it_is_dropped_is_not(tmp_path: Path) -> None:
    log = temporary_log(tmp_path)
    for turn_id in ("t1", "t2"):
        log.append(
            make_turn(turn_id, response_id=turn_id),
            next_state(turn_id=turn_id),
            Verdict(turn_id, "next_state", None, 103.0),
        )
    found = Intake(
        SETTINGS,
        ObjectiveConfig(),
        RewardConfig(),
        interrupted(log, lambda: answers.append(thumbs_down(log, "t1"))),
        lambda: 1000.0,
    )
    answers: list[dict[str, object]] = []
    assert taken(found) == []
    assert answers == [{"accepted": True, "used": True}]
    assert log.outcome("t1") is None
    assert log.outcomes().keys() == {"t2"}
    judge_it(log, "t1")
    found.log = log
    assert taken(found) == ["t1"]
