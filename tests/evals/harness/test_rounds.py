"""What counts as a round of an episode, and how many there may be."""

import dataclasses

import pytest
from runner_episodes import outcome_of
from toy_suite import toy_suite, toy_task

from clawjax.evals.agents.scripted import (
    ScriptedAgent,
    following,
)
from clawjax.evals.harness.outcome import Outcome
from clawjax.evals.harness.protocols import Parsed
from clawjax.evals.harness.rendering import as_call
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.tasks import Action, Limits
from clawjax.evals.harness.trajectory import (
    AgentTurn,
    Parse,
    RawCall,
    messages_of,
)


def saying(*turns):
    return ScriptedAgent("scripted", lambda brief: turns)


async def test_so_many_replies_without_action_end_it(tmp_path):
    outcome, episode = await outcome_of(tmp_path, toy_task(1), saying())
    assert (outcome, len(episode.trajectory.steps)) == (Outcome.INVALID_FORMAT, 3)


async def test_a_reply_that_a_parser_cannot_bear_ends_no_more_than_its_turn(tmp_path):
    def reads_three(turn, brief):
        return {"3": Parsed((Action.answer("3"),))}[turn.text]

    suite = dataclasses.replace(toy_suite(toy_task(3)), parser=reads_three)
    agent = saying(AgentTurn(text="odd"), AgentTurn(text="3"))
    [episode] = await run(suite, agent, EpisodeStore(tmp_path), Selection())
    assert [step.parse for step in episode.trajectory.steps] == [Parse.FORMAT_ERROR, Parse.PARSED]
    assert "KeyError" in episode.trajectory.steps[0].problem


async def test_so_many_refused_actions_end_it(tmp_path):
    text = AgentTurn(text="Action: fly\nArguments: {}")
    outcome, _ = await outcome_of(tmp_path, toy_task(1), saying(text, text, text))
    assert outcome is Outcome.INVALID_ACTION


async def test_turns_and_tokens_are_limited(tmp_path):
    suite = toy_suite(toy_task(1))
    adding = following(suite, "adding", lambda task: [Action("add", {"n": 1})] * 9)
    outcome, episode = await outcome_of(tmp_path, toy_task(1), adding)
    assert (outcome, episode.trajectory.detail) == (Outcome.TASK_LIMIT, "turns: 4")


def several(*numbers):
    """One reply with as many calls."""
    calls = (RawCall(f"call_{i}", "add", f'{{"n": {n}}}') for i, n in enumerate(numbers))
    return AgentTurn(calls=tuple(calls))


@pytest.mark.parametrize(("counts_actions", "carried_out"), [(True, 4), (False, 6)])
async def test_calls_in_one_reply_are_rounds_where_a_round_is_one_action(
    tmp_path, counts_actions, carried_out
):
    task = toy_task(6, limits=Limits(turns=4, counts_actions=counts_actions))
    agent = saying(several(*[1] * 6), as_call(Action.answer("6")))
    outcome, episode = await outcome_of(tmp_path, task, agent)
    steps = episode.trajectory.steps
    assert len(steps[0].executed) == carried_out
    assert (outcome is Outcome.TASK_LIMIT) == counts_actions
    assert episode.score.value == float(not counts_actions)
    told = [message.text for message in messages_of("", "", steps[:1])[2:]]
    assert told.count("not carried out") == 6 - carried_out


async def test_a_reply_without_an_action_is_a_round(tmp_path):
    task = toy_task(3, limits=Limits(turns=4, counts_actions=True))
    agent = saying(several(1), AgentTurn(text="Well."), several(1, 1, 1))
    outcome, episode = await outcome_of(tmp_path, task, agent)
    assert (outcome, episode.trajectory.detail) == (Outcome.TASK_LIMIT, "turns: 4")
    assert len(episode.trajectory.executed) == 3


async def test_a_call_that_is_carried_out_hides_none_that_is_refused(tmp_path):
    outcome, episode = await outcome_of(tmp_path, toy_task(3), saying(*[several(1, -1, 1)] * 3))
    assert (outcome, len(episode.trajectory.steps)) == (Outcome.INVALID_ACTION, 3)
    assert len(episode.trajectory.executed) == 3 + 3 + 2
