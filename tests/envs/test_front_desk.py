"""The front desk's rules, and what the labels by rules make of good and bad clerks."""

from __future__ import annotations

import random

import pytest
from _desk import MOST_STEPS, Attempt, clumsy_call

from clawjax.config import ProcessConfig
from clawjax.envs.front_desk import DeskTask, FrontDesk, desk_tasks
from clawjax.learner.sampler import Drawn
from clawjax.review.steps import step_score
from clawjax.rewards.episode import episode_of
from clawjax.rewards.steps import step_labels

TASK = DeskTask("a", "x", dict(zip("abcdefgh", "ponmlkji", strict=True)))


def act(attempt: Attempt, text: str) -> float | None:
    """One step; its worth by the labels."""
    attempt.act((1,), text, Drawn((2, 3), (-1.0, -1.0)), version=0)
    step = attempt.steps[-1]
    return step_score(step_labels(episode_of(step.turn, step.answer), ProcessConfig()), {})


def test_the_solution_solves_it_and_every_step_of_it_is_good():
    attempt = Attempt("t", TASK)
    texts = [name[0] + next(iter(arguments.values())) for name, arguments in TASK.solution]
    assert texts == ["fa", "op", "bx", "sa"]
    assert [act(attempt, text) for text in texts] == [1.0] * 4
    assert attempt.desk.is_solved
    assert attempt.outcome == 1.0
    assert attempt.told == "ax:fap\nopo\nbxb\nsaa\n"
    assert attempt.steps[-1].turn.parent_turn_id == attempt.steps[-2].turn.turn_id


@pytest.mark.parametrize("text", ["bx", "sa", "op", "zz", "f?", ""])
def test_what_comes_too_early_or_is_nonsense_is_a_bad_step(text):
    attempt = Attempt("t", TASK)
    worth = act(attempt, text)
    assert worth is not None
    assert worth < 1.0
    assert attempt.steps[0].answer.messages[0].content.startswith("Error")


def test_only_the_right_guest_in_the_right_room_counts():
    desk = FrontDesk(TASK)
    for name, arguments in (
        ("find", {"name": "b"}),
        ("open", {"key": TASK.keys["b"]}),
        ("book", {"room": "x"}),
        ("send", {"name": "a"}),
    ):
        assert not desk.call(name, arguments).startswith("Error")
    assert desk.is_done
    assert not desk.is_solved
    assert desk.call("find", None).startswith("Error: invalid arguments")


def test_held_out_pairs_are_never_trained_on():
    train = {(task.guest, task.room) for task in desk_tasks(500, seed=1, is_held_out=False)}
    held_out = {(task.guest, task.room) for task in desk_tasks(500, seed=1, is_held_out=True)}
    assert len(held_out) == 16
    assert not train & held_out
    again = list(desk_tasks(5, seed=1, is_held_out=True))
    assert again == list(desk_tasks(5, seed=1, is_held_out=True))


def test_a_clerk_solves_what_his_mistakes_leave():
    rng = random.Random(0)
    solved = {0.0: 0, 0.3: 0}
    for mistakes in solved:
        for number, task in enumerate(desk_tasks(100, seed=2, is_held_out=False)):
            attempt = Attempt(str(number), task)
            while not attempt.is_over:
                act(attempt, clumsy_call(attempt, rng, mistakes=mistakes))
            assert len(attempt.steps) <= MOST_STEPS
            solved[mistakes] += attempt.desk.is_solved
    assert solved[0.0] == 100
    assert 20 < solved[0.3] < 70
