"""Goals of the gates: computed from what was measured."""

from suite_gates import goals, row

from clawjax.evals.gates import Gate

ORACLE, NOOP = Gate("s", "oracle", 1.0, 1.0, 4), Gate("s", "noop", 0.0, 0.0, 4)


def test_all_gates_hold_or_the_goal_is_missed():
    assert [goal.met for goal in goals([ORACLE, NOOP])] == [True, True]
    cheated = NOOP._replace(agent="exploit:x", score=0.25)
    assert [goal.met for goal in goals([ORACLE, cheated])] == [True, False]
    assert [goal.met for goal in goals([ORACLE._replace(score=None), NOOP])] == [False, True]
    assert [goal.met for goal in goals([])] == [False, False]
    assert row(NOOP)["holds"] is True
