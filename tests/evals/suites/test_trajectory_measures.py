"""What reports say of trajectories, suite by suite: a good solution measures as one."""

import re
from dataclasses import replace

import pytest

from clawjax.errors import ConfigError
from clawjax.evals.agents.scripted import following, noop_agent, oracle_agent
from clawjax.evals.harness.outcome import Outcome
from clawjax.evals.harness.process import EnvironmentPool
from clawjax.evals.harness.rendering import as_call
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.tasks import Action
from clawjax.evals.harness.trajectory import Trajectory
from clawjax.evals.metrics.summary import episode_row, summarise
from clawjax.evals.suites import build_suite
from clawjax.evals.web.grammar import named_element

MEASURED = {
    "dbbench": {"optimum", "calls", "side_effects"},
    "gaia": {"optimum"},
    "household": {"progress", "optimum", "calls"},
    "miniwob": {"optimum", "calls"},
    "os": {"progress", "optimum"},
    "personal_agent": {"progress", "optimum"},
    "tau": {"progress", "optimum", "calls", "side_effects"},
    "web": {"progress", "optimum", "calls", "side_effects"},
}
"""By suite: for its other measures there is no ground."""


def built(name):
    try:
        return build_suite(name)
    except ConfigError as missing:
        pytest.skip(f"{name}: {missing}")


async def rows_of(suite, folder, *agents, limit):
    """Per agent: its rows and the summary."""
    found = []
    async with EnvironmentPool.open(suite.launch, 2) as pool:
        for agent in agents:
            store = EpisodeStore(folder / agent.name)
            chosen = Selection(limit=limit)
            episodes = await run(suite, agent, store, chosen, concurrency=2, pool=pool)
            found.append(([episode_row(suite, e) for e in episodes], summarise(suite, episodes)))
    return found


@pytest.mark.parametrize("name", MEASURED)
async def test_a_good_solution_measures_as_one_and_none_as_none(tmp_path, name):
    suite = built(name)
    agents = oracle_agent(suite), noop_agent(suite)
    limit = 3 if name in ("web", "miniwob") else 6
    (_, best), (rows, idle) = await rows_of(suite, tmp_path, *agents, limit=limit)
    measured = MEASURED[name]

    def of(what, value):
        return value if what in measured else None

    assert best["success"]["value"] == 1.0
    assert best["progress"]["progress"] == of("progress", 1.0)
    if name != "gaia":  # whose oracle knows the answer and looks for nothing
        assert best["efficiency"]["steps_over_optimal"] == of("optimum", 1.0)
    assert best["efficiency"]["spl"] == of("optimum", 1.0)
    assert best["tool_calls"]["calls_exact"] == of("calls", 1.0)
    assert best["tool_calls"]["names_any_order"] == of("calls", 1.0)
    assert best["side_effects"]["side_effects"] == of("side_effects", 0.0)

    assert idle["success"]["value"] == 0.0
    assert idle["efficiency"]["spl"] == of("optimum", 0.0)
    assert idle["efficiency"]["steps_over_optimal"] is None
    assert idle["tool_calls"]["names_recall"] == of("calls", 0.0)
    assert (idle["progress"]["progress"] is None) == ("progress" not in measured)
    assert all(row["progress"] is None or row["progress"] < 1.0 for row in rows)
    assert all(not row["calls_in_order"] and not row["calls_any_order"] for row in rows)


@pytest.mark.parametrize("name", [name for name in MEASURED if "side_effects" in MEASURED[name]])
def test_where_the_final_state_is_not_known_side_effects_are_not_measured(name):
    suite, before = built(name), {"hash": "x", "rows": {"cart[1]": "y"}, "changed": []}
    lost = Trajectory(name, "", "", "", "", 0, 0, 0, "", "", "", (), Outcome.TASK_LIMIT)
    lost = replace(lost, before=before)
    assert {suite.side_effects(task, lost) for task in suite.tasks} == {None}


async def test_a_conversation_half_done_is_half_the_progress(tmp_path):
    """Of one write and one thing to be told, the agent makes the write; a refused one is none."""
    suite = built("tau")
    [task] = [each for each in suite.tasks if each.task_id == "1"]
    writes = [each for each in task.reference.actions if suite.tool_kinds[each.name] == "write"]
    assert (len(writes), len(task.reference.answer)) == (1, 1)
    agents = [
        following(suite, "writes", lambda task: [*writes, Action.respond("Goodbye.")]),
        following(
            suite,
            "refused",
            lambda task: [Action(writes[0].name, {"loan_id": "l-none"}), Action.respond("Bye.")],
        ),
    ]
    only = Selection(task_ids=("1",))
    found = []
    async with EnvironmentPool.open(suite.launch, 1) as pool:
        for agent in agents:
            store = EpisodeStore(tmp_path / agent.name)
            [episode] = await run(suite, agent, store, only, concurrency=1, pool=pool)
            found.append(episode_row(suite, episode)["progress"])
    assert found == [0.5, 0.0]


class ByNumber:
    """Follows the solutions on record, but names elements by their numbers on the page."""

    name = "by-number"

    def __init__(self, suite):
        self.plans = {task.task_id: task.reference.actions for task in suite.tasks}

    async def act(self, brief, history, *, seed):
        index = sum(message.role == "assistant" for message in history)
        action = self.plans[brief.task_id][index]
        given = dict(action.arguments)
        if "element" in given:
            role, name, nth = named_element(given["element"])
            line = re.compile(rf"\[(\d+)\] {role} {re.escape(repr(name))}")
            given["element"] = line.findall(history[-1].text)[nth]
            if given.get("enter"):
                del given["enter"]  # it is what is done where it is left out
        return as_call(Action(action.name, given))


@pytest.mark.parametrize("name", ["miniwob", "web"])
async def test_an_element_by_its_number_is_the_one_that_the_reference_names(tmp_path, name):
    suite = built(name)
    [(_, found)] = await rows_of(suite, tmp_path, ByNumber(suite), limit=3)
    assert found["success"]["value"] == 1.0
    assert found["tool_calls"]["calls_exact"] == 1.0


async def test_of_an_official_question_only_the_answer_is_known(tmp_path):
    (tmp_path / "metadata.jsonl").write_text(
        '{"task_id": "a", "Question": "?", "Level": 1, "Final answer": "4", "file_name": "",'
        ' "Annotator Metadata": {"Number of steps": "7"}}'
    )
    suite = build_suite("gaia", {"path": str(tmp_path), "python": "off"})
    [(_, found)] = await rows_of(suite, tmp_path / "runs", oracle_agent(suite), limit=1)
    assert found["success"]["value"] == 1.0
    assert (found["efficiency"]["spl"], found["tool_calls"]["calls_exact"]) == (None, None)
