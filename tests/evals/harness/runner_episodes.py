"""Episodes of the toy suite."""

from toy_suite import toy_suite

from clawjax.evals.agents.scripted import (
    oracle_agent,
)
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.trajectory import (
    effective_outcome,
)


async def outcome_of(tmp_path, task, agent=None, **options):
    suite = toy_suite(task, **options)
    [episode] = await run(suite, agent or oracle_agent(suite), EpisodeStore(tmp_path), Selection())
    return effective_outcome(episode.trajectory, episode.score), episode
