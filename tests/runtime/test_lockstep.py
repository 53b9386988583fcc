"""What the loops in lockstep make of a run's configuration."""

import pytest

from clawjax.config import LearnerConfig, RunConfig, SuiteConfig, UserConfig
from clawjax.runtime.lockstep import without_waits


@pytest.mark.parametrize(
    ("staleness", "turns", "is_kept"),
    [
        (16, 4, 16 + 2),  # every other round a conversation has a turn
        (16, 16, 16 + 1),
        (0, 16, 4),  # as learner.max_staleness says, which is more than is needed
    ],
)
def test_no_turn_is_too_old_for_waiting_until_its_conversation_has_a_turn_again(
    staleness, turns, is_kept
):
    suite = SuiteConfig(staleness=staleness, turns_per_update=turns)
    learner = LearnerConfig(max_staleness=4)
    config = RunConfig(suite=suite, user=UserConfig(concurrency=8), learner=learner)
    assert without_waits(config).learner.max_staleness >= is_kept
    assert without_waits(config).learner.max_staleness <= is_kept + 1
