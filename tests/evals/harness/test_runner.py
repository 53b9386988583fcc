"""Episodes as they are run: outcomes by cause, resuming, scoring again."""

import asyncio
import dataclasses
import math
import os
import time

import psutil
import pytest
from runner_episodes import outcome_of
from toy_suite import toy_suite, toy_task

from clawjax.errors import ConfigError
from clawjax.evals.agents.scripted import (
    RandomAgent,
    exploit_agent,
    noop_agent,
    oracle_agent,
    replay_agent,
)
from clawjax.evals.harness.failures import AgentFailure, ContextLimitReached
from clawjax.evals.harness.outcome import Outcome
from clawjax.evals.harness.runner import Selection, rescore, run, select
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.tasks import Limits
from clawjax.evals.harness.trajectory import (
    AgentTurn,
    Score,
    effective_outcome,
)


async def test_the_gates_hold(tmp_path):
    suite = toy_suite()
    agents = {
        "oracle": (oracle_agent(suite), 1.0),
        "noop": (noop_agent(suite), 0.0),
        "random": (RandomAgent(suite), 0.0),
        "exploit": (exploit_agent(suite, "says_only"), 0.0),
    }
    for name, (agent, expected) in agents.items():
        episodes = await run(suite, agent, EpisodeStore(tmp_path / name), Selection())
        assert [episode.score.value for episode in episodes] == [expected] * 4, name


async def test_what_the_environment_prints_is_no_answer(tmp_path):
    outcome, _ = await outcome_of(tmp_path, toy_task(1), noise='{"ok": "forged"}')
    assert outcome is Outcome.COMPLETED


async def test_a_broken_environment_is_unscored(tmp_path):
    for name in ("reset", f"once {tmp_path / 'mark'}"):
        outcome, episode = await outcome_of(tmp_path / name[:5], toy_task(1, breaks=name))
        assert (outcome, episode.score.value) == (Outcome.ENVIRONMENT_ERROR, None)


@pytest.mark.parametrize("breaks", ["raise", "die", "inspect"])
@pytest.mark.parametrize("scores_unfinished", [False, True])
async def test_what_breaks_every_environment_is_the_agents_doing(
    tmp_path, breaks, scores_unfinished
):
    suite = dataclasses.replace(
        toy_suite(toy_task(1, breaks=breaks)), scores_unfinished=scores_unfinished
    )
    [episode] = await run(suite, oracle_agent(suite), EpisodeStore(tmp_path), Selection())
    assert episode.trajectory.outcome is Outcome.BROKE_ENVIRONMENT
    assert episode.score.value == 0.0


async def test_what_an_environment_needs_of_others_is_not_the_agents_doing(tmp_path):
    outcome, episode = await outcome_of(tmp_path, toy_task(1, breaks="outside"))
    assert (outcome, episode.score.value) == (Outcome.ENVIRONMENT_ERROR, None)
    assert "somebody else is away" in episode.trajectory.detail


@pytest.mark.parametrize(
    ("breaks", "is_live", "outcome", "actions"),
    [
        ("inspect", False, Outcome.BROKE_ENVIRONMENT, ["add", "answer"] * 2),
        ("inspect", True, Outcome.ENVIRONMENT_ERROR, ["add", "answer"]),
        ("inspect outside", False, Outcome.ENVIRONMENT_ERROR, ["add", "answer"]),
    ],
)
async def test_nothing_is_done_twice_in_a_live_world_or_for_what_others_did(
    tmp_path, breaks, is_live, outcome, actions
):
    log = tmp_path / "actions"
    suite = toy_suite(toy_task(1, breaks=breaks, log=str(log)))
    suite = dataclasses.replace(suite, launch=dataclasses.replace(suite.launch, is_live=is_live))
    [episode] = await run(suite, oracle_agent(suite), EpisodeStore(tmp_path / "x"), Selection())
    assert episode.trajectory.outcome is outcome
    assert log.read_text().split() == actions


async def test_an_environment_that_hangs_is_killed(tmp_path):
    outcome, episode = await outcome_of(tmp_path, toy_task(1, breaks="hang"), timeout_s=1.0)
    assert (outcome, episode.score.value) == (Outcome.BROKE_ENVIRONMENT, 0.0)
    assert "took over 1 s" in episode.trajectory.detail


@pytest.mark.parametrize("way", ["hangs", "ends", "forks"])
async def test_what_a_broken_environment_started_and_wrote_is_gone(tmp_path, way):
    """Also what took a session of its own, or holds the pipes of a worker that has ended."""
    litter = tmp_path / "litter"
    task = toy_task(1, breaks=f"litter {way} {litter}")
    outcome, _ = await outcome_of(tmp_path, task, timeout_s=2.0)
    assert outcome is Outcome.BROKE_ENVIRONMENT
    pid, folder = litter.read_text().split()
    assert await asyncio.to_thread(ends, int(pid))
    assert not os.path.exists(folder)  # noqa: ASYNC240 - nothing else waits here


def ends(pid: int) -> bool:
    """Whether a process that was killed is gone soon: the kernel may take a moment."""
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == "zombie":
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("scores_unfinished", [False, True])
async def test_wall_time_is_the_agents_limit(tmp_path, scores_unfinished):
    """Also in the middle of a step, after which the final state is not known."""
    task = toy_task(1, breaks="hang", limits=Limits(wall_s=1.0))
    suite = dataclasses.replace(toy_suite(task), scores_unfinished=scores_unfinished)
    [episode] = await run(suite, oracle_agent(suite), EpisodeStore(tmp_path), Selection())
    outcome = effective_outcome(episode.trajectory, episode.score)
    assert (outcome, episode.score.value) == (Outcome.TASK_LIMIT, 0.0)


async def test_a_scorer_that_breaks_down_is_no_zero(tmp_path):
    outcome, episode = await outcome_of(tmp_path, toy_task(1, breaks="scorer"))
    assert (outcome, episode.score.value) == (Outcome.SCORER_ERROR, None)
    assert "no score" in episode.score.error


@pytest.mark.parametrize(
    "made", [Score(math.nan), Score(1.0, parts={"half": math.inf}), Score(1.0, judged=-math.inf)]
)
async def test_a_score_that_is_no_number_is_an_error_and_ends_no_run(tmp_path, made):
    async def scorer(task, trajectory):
        return made if task.task_id == "count-1" else Score(1.0)

    suite = dataclasses.replace(toy_suite(toy_task(1), toy_task(2)), scorer=scorer)
    store = EpisodeStore(tmp_path)
    first, second = await run(suite, oracle_agent(suite), store, Selection())
    assert (first.score.value, second.score.value) == (None, 1.0)
    assert "where a number in [0, 1] has to be" in first.score.error
    assert effective_outcome(first.trajectory, first.score) is Outcome.SCORER_ERROR


async def test_a_reward_that_is_no_number_was_not_told(tmp_path):
    outcome, episode = await outcome_of(tmp_path, toy_task(1, breaks="nan"))
    assert (outcome, episode.score.value) == (Outcome.COMPLETED, 1.0)
    told = episode.trajectory.executed[0].result
    assert (told.reward, told.progress) == (None, None)


class Raising:
    name = "raising"

    def __init__(self, error):
        self.error = error

    async def act(self, brief, history, *, seed):
        raise self.error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ContextLimitReached("full"), Outcome.CONTEXT_LIMIT),
        (AgentFailure("status 500"), Outcome.AGENT_ERROR),
        (KeyError("a bug"), Outcome.AGENT_ERROR),
    ],
)
async def test_an_agents_failures_by_type(tmp_path, error, outcome):
    found, episode = await outcome_of(tmp_path, toy_task(1), Raising(error))
    assert found is outcome
    assert episode.score.value == (0.0 if outcome is Outcome.CONTEXT_LIMIT else None)


async def test_a_run_goes_on_with_what_is_missing(tmp_path):
    suite = toy_suite()
    store = EpisodeStore(tmp_path)
    await run(suite, oracle_agent(suite), store, Selection(limit=2))
    lines = (tmp_path / "trajectories.jsonl").read_text().splitlines()
    episodes = await run(suite, oracle_agent(suite), store, Selection(trials=2))
    after = (tmp_path / "trajectories.jsonl").read_text().splitlines()
    assert len(episodes) == 8
    assert len(after) == 8
    assert after[:2] == lines


class FirstIsLast:
    """Plays the first task when all others are scored; the last two wrong."""

    name = "first-is-last"

    def __init__(self, suite, store):
        self.oracle, self.store = oracle_agent(suite), store

    async def act(self, brief, history, *, seed):
        if "to 1," in brief.instruction:
            async with asyncio.timeout(60):
                while len(self.store.scores()) < 3:  # noqa: ASYNC110 - they are a file
                    await asyncio.sleep(0.01)
        if any(f"to {n}," in brief.instruction for n in (3, 4)):
            return AgentTurn(text='Action: answer\nArguments: {"text": "0"}')
        return await self.oracle.act(brief, history, seed=seed)


async def test_scores_are_told_in_the_order_of_the_tasks(tmp_path):
    suite, store, told = toy_suite(), EpisodeStore(tmp_path), []
    agent = FirstIsLast(suite, store)
    await run(suite, agent, store, Selection(), on_score=lambda score: told.append(score.value))
    assert told == [1.0, 1.0, 0.0, 0.0]


async def test_scores_on_record_wait_for_those_before_them(tmp_path):
    suite, store, told = toy_suite(), EpisodeStore(tmp_path), []
    agent = FirstIsLast(suite, store)
    await run(suite, agent, store, Selection(task_ids=("count-3", "count-4", "count-2")))
    await run(suite, agent, store, Selection(), on_score=lambda score: told.append(score.value))
    assert told == [1.0, 1.0, 0.0, 0.0]


async def test_an_error_of_the_harness_is_played_again(tmp_path):
    suite = toy_suite(toy_task(1))
    store = EpisodeStore(tmp_path)
    failing = Raising(AgentFailure("away"))
    failing.name = "oracle"
    await run(suite, failing, store, Selection())
    [episode] = await run(suite, oracle_agent(suite), store, Selection())
    assert (episode.trajectory.attempt, episode.score.value) == (1, 1.0)


async def test_what_is_stopped_is_on_record_as_cancelled(tmp_path):
    class Waiting:
        name = "waiting"

        async def act(self, brief, history, *, seed):
            await asyncio.sleep(60)

    store = EpisodeStore(tmp_path)
    running = asyncio.create_task(run(toy_suite(toy_task(1)), Waiting(), store, Selection()))
    await asyncio.sleep(3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    [trajectory] = store.trajectories().values()
    assert trajectory.outcome is Outcome.CANCELLED


async def test_a_folder_holds_one_evaluation(tmp_path):
    suite = toy_suite(toy_task(1))
    store = EpisodeStore(tmp_path)
    await run(suite, oracle_agent(suite), store, Selection())
    with pytest.raises(ConfigError, match="agent: 'oracle' there, 'noop' now"):
        await run(suite, noop_agent(suite), store, Selection())


async def test_records_are_scored_again_without_playing(tmp_path):
    suite = toy_suite()
    store = EpisodeStore(tmp_path)
    before = await run(suite, oracle_agent(suite), store, Selection())
    unable = dataclasses.replace(suite, launch=dataclasses.replace(suite.launch, factory="no:no"))
    after = await rescore(unable, store)
    assert [each.score for each in after] == [each.score for each in before]


async def away(task, trajectory):
    raise OSError("the judge is away")


def values(episodes):
    return [episode.score.value for episode in episodes]


async def test_a_scorer_that_is_away_takes_no_score_away(tmp_path, caplog):
    suite, store = toy_suite(toy_task(3), toy_task(4)), EpisodeStore(tmp_path)
    await run(suite, oracle_agent(suite), store, Selection())
    assert values(await rescore(dataclasses.replace(suite, scorer=away), store)) == [1.0, 1.0]
    assert [score.value for _, score in store.scores().values()] == [1.0, 1.0]
    assert "2 of 2 episodes could not be scored; scores of version 1 are kept" in caplog.text
    other = dataclasses.replace(suite, scorer=away, version="2")
    assert values(await rescore(other, store)) == [None, None]


async def test_a_scorer_that_was_away_is_asked_again_by_the_same_command(tmp_path):
    suite, store, told = toy_suite(toy_task(3), toy_task(4)), EpisodeStore(tmp_path), []
    asked = []

    async def counting(task, trajectory):
        asked.append(task.task_id)
        await away(task, trajectory)

    broken = dataclasses.replace(suite, scorer=counting)
    assert values(await run(broken, oracle_agent(suite), store, Selection())) == [None, None]
    assert len(asked) == 2
    found = await run(suite, oracle_agent(suite), store, Selection(), on_score=told.append)
    assert values(found) == [score.value for score in told] == [1.0, 1.0]
    assert [episode.trajectory.attempt for episode in found] == [0, 0]


async def test_a_replay_repeats_the_scores(tmp_path):
    suite = toy_suite()
    first = EpisodeStore(tmp_path / "first")
    before = await run(suite, RandomAgent(suite), first, Selection())
    again = replay_agent(first.trajectories().values())
    after = await run(suite, again, EpisodeStore(tmp_path / "second"), Selection())
    assert [each.trajectory.steps[0].executed for each in after] == [
        each.trajectory.steps[0].executed for each in before
    ]
    assert [each.trajectory.actions for each in after] == [
        each.trajectory.actions for each in before
    ]


def test_a_quick_selection_is_the_same_each_time():
    tasks = toy_suite().tasks
    chosen = select(tasks, Selection(limit=2))
    assert chosen == select(tasks[::-1], Selection(limit=2))[::-1]
    assert select(tasks, Selection(split="dev")) == list(tasks[:2])
    with pytest.raises(ConfigError, match="leaves no task"):
        select(tasks, Selection(split="nope"))
    with pytest.raises(ConfigError, match="count-99"):
        select(tasks, Selection(task_ids=("count-99",)))
