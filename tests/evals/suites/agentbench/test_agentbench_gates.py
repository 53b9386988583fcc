"""What every suite has to show: who solves the task gets 1.0, who does not gets 0, however they
cheat."""

import pytest

from clawjax.evals.agents.scripted import RandomAgent, exploit_agent, noop_agent, oracle_agent
from clawjax.evals.harness.outcome import UNSCORED
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.suites import build_suite

SUITES = ["dbbench", "os", "household"]
BUILT = {name: build_suite(name) for name in SUITES}
CASES = [(name, exploit) for name in SUITES for exploit in BUILT[name].exploits]


async def mean(suite, agent, folder):
    selection = Selection(limit=None)
    episodes = await run(suite, agent, EpisodeStore(folder), selection, concurrency=2)
    broken = [e.trajectory.detail for e in episodes if e.trajectory.outcome in UNSCORED]
    assert not broken, broken[0]
    assert all(e.score.value is not None for e in episodes), [e.score.error for e in episodes]
    return sum(e.score.value for e in episodes) / len(episodes)


@pytest.mark.parametrize("name", SUITES)
async def test_the_oracle_solves_every_task(name, tmp_path):
    assert await mean(BUILT[name], oracle_agent(BUILT[name]), tmp_path) == 1.0


@pytest.mark.parametrize("name", SUITES)
async def test_giving_up_is_worth_nothing(name, tmp_path):
    assert await mean(BUILT[name], noop_agent(BUILT[name]), tmp_path) == 0.0


@pytest.mark.parametrize("name", SUITES)
async def test_random_actions_are_worth_about_nothing(name, tmp_path):
    assert await mean(BUILT[name], RandomAgent(BUILT[name]), tmp_path) <= 0.1


@pytest.mark.parametrize(("name", "exploit"), CASES)
async def test_no_exploit_scores(name, exploit, tmp_path):
    assert await mean(BUILT[name], exploit_agent(BUILT[name], exploit), tmp_path) == 0.0
