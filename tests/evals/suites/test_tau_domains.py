"""tau2's airline and retail tasks: reference runs end as upstream's do, and sums are right."""

import contextlib
import json
from collections import Counter
from pathlib import Path

import pytest

from clawjax.errors import ConfigError, UnavailableError
from clawjax.evals.agents.scripted import noop_agent, oracle_agent
from clawjax.evals.harness.process import EnvironmentPool
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.suites.tau import records
from clawjax.evals.suites.tau.domain import (
    ToolError,
    digest,
    fresh_copy,
    load_domain,
)
from clawjax.evals.suites.tau.records import published_folder, read_json, read_tasks
from clawjax.evals.suites.tau.suite import build
from clawjax.json_schema import schema_problem

DATA = Path(__file__).parents[2] / "data" / "tau"
STATES = json.loads((DATA / "states.json").read_text())
DOMAINS = ("airline", "retail")

# Reference calls that upstream refuses too, by task: emails and names that the user gets wrong on
# purpose, item ids asked for as products, orders that do not exist, and what the policy forbids.
REFUSED = {
    "airline": {},
    "retail": {
        "2": 1, "3": 1, "4": 1, "12": 1, "13": 1, "21": 3, "35": 1, "37": 1, "38": 1, "39": 1,
        "46": 2, "47": 2, "54": 1, "55": 1, "64": 1, "67": 2, "68": 1, "105": 1,
    },
}  # fmt: skip
# Reference runs that leave the database as it was.
UNCHANGED = {
    "airline": {
        "0", "1", "3", "4", "5", "6", "10", "13", "26", "28", "31", "34", "36", "41", "43", "45",
        "46", "47", "48", "49",
    },
    "retail": {"10", "12", "24", "25", "50", "57", "62", "65", "67", "68", "105"},
}  # fmt: skip


def replayed(domain, folder):
    """State, and how many calls were refused, after each task's reference actions."""
    [database] = folder.glob("db.json*")
    fresh = read_json(database)
    schemas = {tool.name: tool.parameters for tool in domain.TOOLS}
    for task in read_tasks((folder / "tasks.json").read_bytes()):
        state, refused = fresh_copy(fresh), 0
        for action in task.actions:
            problem = schema_problem(dict(action.arguments), schemas[action.name])
            assert problem is None, (task.task_id, problem)
            try:
                domain.call(state, action.name, action.arguments)
            except ToolError:
                refused += 1
        yield task.task_id, state, refused, state == fresh


def check_replay(name, folder, states):
    seen, refused, unchanged = set(), {}, set()
    for task_id, state, count, is_unchanged in replayed(load_domain(name), folder):
        assert digest(state) == states[task_id], task_id
        seen.add(task_id)
        if count:
            refused[task_id] = count
        if is_unchanged:
            unchanged.add(task_id)
    assert seen == set(states)
    assert refused == {key: n for key, n in REFUSED[name].items() if key in seen}
    assert unchanged == UNCHANGED[name] & seen


@pytest.mark.parametrize("name", DOMAINS)
def test_reference_actions_end_in_upstreams_states(name):
    check_replay(name, DATA / name, STATES["cut"][name])


@pytest.mark.parametrize(("name", "tasks"), [("airline", 50), ("retail", 114)])
def test_all_published_tasks_end_in_upstreams_states(name, tasks):
    assert len(STATES["published"][name]) == tasks
    try:
        folder = published_folder(name)
    except UnavailableError as missing:
        pytest.skip(str(missing))
    check_replay(name, folder, STATES["published"][name])


@pytest.mark.parametrize("name", DOMAINS)
async def test_reference_runs_score_and_doing_nothing_does_not(tmp_path, name):
    suite = build({"domain": name, "path": str(DATA / name), "silent_users": True})
    async with EnvironmentPool.open(suite.launch, 1) as pool:
        played, idle = [
            await run(suite, agent, EpisodeStore(tmp_path / agent.name), Selection(), pool=pool)
            for agent in (oracle_agent(suite), noop_agent(suite))
        ]
    assert {episode.score.value for episode in played} == {1.0}
    assert len(played) == len(STATES["cut"][name])
    for episode in played:
        assert episode.trajectory.after["hash"] == STATES["cut"][name][episode.task.task_id]
    right = {episode.task.task_id for episode in idle if episode.score.value == 1.0}
    nothing_to_tell = {task.task_id for task in suite.tasks if not task.reference.answer}
    assert right == UNCHANGED[name] & {task.task_id for task in suite.tasks} & nothing_to_tell


@pytest.mark.parametrize("name", DOMAINS)
def test_reference_actions_use_every_tool_that_changes_something(name):
    domain = load_domain(name)
    used = Counter(
        action.name
        for task in read_tasks((DATA / name / "tasks.json").read_bytes())
        for action in task.actions
    )
    assert {tool for tool, kind in domain.KINDS.items() if kind != "read"} <= set(used)
    assert set(domain.KINDS) == {tool.name for tool in domain.TOOLS}


@pytest.mark.parametrize("name", DOMAINS)
def test_examples_in_schemas_can_be_called_and_reading_changes_nothing(name):
    domain, fresh = load_domain(name), read_json(DATA / name / "db.json")
    state = fresh_copy(fresh)
    for tool in domain.TOOLS:
        properties = tool.parameters["properties"]
        arguments = {key: schema["examples"][0] for key, schema in properties.items()}
        assert schema_problem(arguments, tool.parameters) is None
        if domain.KINDS[tool.name] == "write":
            continue
        with contextlib.suppress(ToolError):
            domain.call(state, tool.name, arguments)
        assert state == fresh


def test_published_tasks_that_are_not_installed_say_how_to_get_them(monkeypatch):
    monkeypatch.setattr(records.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="pip install --no-deps inspect-evals"):
        build({"domain": "retail", "silent_users": True})


def test_a_domain_of_ones_own_needs_a_folder_and_tools():
    with pytest.raises(ConfigError, match=r"needs suite\.options\.path"):
        build({"domain": "clawjax.evals.suites.tau.arithmetic"})
    with pytest.raises(ConfigError, match="it lacks TOOLS, KINDS, TERMINATING, call"):
        load_domain("clawjax.evals.suites.tau.arithmetic")
    with pytest.raises(ConfigError, match="use library, airline, retail or a module"):
        load_domain("hotel")


def test_splits_are_read_where_a_folder_has_them(tmp_path):
    for file in (DATA / "retail").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    parts = {"train": ["16", "21"], "test": ["12"], "base": ["12", "16", "21"]}
    (tmp_path / "split_tasks.json").write_text(json.dumps(parts))
    suite = build({"domain": "retail", "path": str(tmp_path), "silent_users": True})
    assert [task.task_id for task in suite.tasks if task.split == "train"] == ["16", "21"]


def test_a_tool_that_is_not_there_is_refused():
    with pytest.raises(ToolError, match="'nope' not found"):
        load_domain("retail").call({}, "nope", {})
