"""What the learner takes from the log, and what it says to it."""

from pathlib import Path

import pytest
from learner_records import next_state
from turn_records import make_turn

from clawjax.config import Baseline, LearnerConfig, ObjectiveConfig, RewardConfig
from clawjax.learner.intake import Intake
from clawjax.log.store import SqlTurnLog
from clawjax.records import DropReason, Verdict
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
    return [admitted.turn.turn_id for admitted in found.next_batch(lambda version: 0)]


def test_a_batch_of_replies_that_are_compared_ends_where_a_group_does(log: SqlTurnLog) -> None:
    assert taken(intake(log, Baseline.none)) == ["t0", "t1", "t2"]
    groups = intake(log, Baseline.rloo)
    assert taken(groups) == ["t0", "t1", "t2", "t3", "t4", "t5"], "all three groups were begun"


def test_what_is_claimed_settled_or_dropped_does_not_come_again(log: SqlTurnLog) -> None:
    found = intake(log, Baseline.none)
    assert found.claim(1, ["t0", "t1"])
    assert taken(found) == ["t2", "t3", "t4"]
    assert found.recover(0) == 2, "the step came to nothing"
    assert found.claim(1, ["t0"])
    found.settle(1)
    found.drop(["t1"], DropReason.NO_SIGNAL)
    found.drop([], DropReason.NO_SIGNAL)
    assert taken(found) == ["t2", "t3", "t4"]
    assert log.counts().dropped == {DropReason.NO_SIGNAL: 1}
    assert log.counts().trained == 1
