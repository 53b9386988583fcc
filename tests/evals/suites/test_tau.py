"""tau-bench: the reward, the users, and files in its format."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
import yaml
from scripted_endpoint import ScriptedEndpoint

from clawjax.errors import ConfigError
from clawjax.evals.agents.scripted import following, oracle_agent
from clawjax.evals.harness.failures import OutsideFailure
from clawjax.evals.harness.outcome import Outcome
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.tasks import Action
from clawjax.evals.metrics.summary import episode_row
from clawjax.evals.suites.tau import library, users
from clawjax.evals.suites.tau.domain import ToolError, changes, digest, replay
from clawjax.evals.suites.tau.records import read_json, read_tasks
from clawjax.evals.suites.tau.suite import LIBRARY, build
from clawjax.evals.suites.tau.users import STOP, ModelUser, ScriptedUser


async def play(tmp_path, plan, task_id="1"):
    suite = build({})
    agent = following(suite, "planned", lambda task: plan)
    chosen = Selection(task_ids=(task_id,))
    [episode] = await run(suite, agent, EpisodeStore(tmp_path), chosen)
    return suite, episode


RENEW = Action("renew_loan", {"loan_id": "l-7"})
BYE = [Action.respond("Due 2025-06-08.")] * 8


async def test_state_and_words_both_count(tmp_path):
    for number, (plan, value) in enumerate(
        [
            ([RENEW, *BYE], 1.0),
            ([RENEW, Action.respond("Renewed."), *[Action.respond("Goodbye.")] * 8], 0.0),
            (BYE, 0.0),
            ([RENEW, RENEW, *BYE], 0.0),
        ]
    ):
        _, episode = await play(tmp_path / str(number), plan)
        assert episode.score.value == value


async def test_customers_may_be_looked_up_in_vain_more_than_twice(tmp_path):
    wrong = [
        Action("find_member", {"name": f"Nobody {n}", "birth_date": "1984-02-11"}) for n in range(4)
    ]
    _, episode = await play(tmp_path, [*wrong, RENEW, *BYE])
    assert (episode.trajectory.outcome, episode.score.value) == (Outcome.COMPLETED, 1.0)


def test_long_conversations_end_where_the_published_ones_do():
    assert {task.limits.turns for task in build({}).tasks} == {30}
    folder = {"path": str(LIBRARY), "silent_users": True}
    assert {t.limits.turns for t in build({"domain": "airline"} | folder).tasks} == {100}
    assert {t.limits.turns for t in build({"domain": "airline", "turns": 7} | folder).tasks} == {7}


async def test_what_changed_besides_is_a_side_effect(tmp_path):
    besides = Action("pay_fees", {"member_id": "m-104", "cents": 300})
    suite, episode = await play(tmp_path, [RENEW, besides, *BYE])
    assert episode.score.value == 0.0
    assert suite.side_effects(episode.task, episode.trajectory) == ("members/m-104/fees_cents",)


async def test_every_task_is_solved_by_its_gold(tmp_path):
    suite = build({})
    episodes = await run(suite, oracle_agent(suite), EpisodeStore(tmp_path), Selection())
    assert len(episodes) == 12
    assert {episode.score.value for episode in episodes} == {1.0}


def test_every_task_changes_the_database():
    fresh = read_json(LIBRARY / "db.json")
    for task in read_tasks((LIBRARY / "tasks.json").read_bytes()):
        after = replay(library, fresh, task.actions)
        assert digest(after) != digest(fresh), task.task_id
        assert changes(fresh, after)


async def test_a_whole_number_is_the_same_however_it_is_written(tmp_path):
    def in_floats(action):
        given = {k: float(v) if k == "cents" else v for k, v in action.arguments.items()}
        return Action(action.name, given)

    suite = build({})
    paid = next(t for t in suite.tasks if "pay_fees" in {a.name for a in t.reference.actions})
    agent = following(suite, "floats", lambda task: map(in_floats, suite.oracle(task)))
    chosen = Selection(task_ids=(paid.task_id,))
    [episode] = await run(suite, agent, EpisodeStore(tmp_path), chosen)
    row = episode_row(suite, episode)
    assert (row["value"], row["progress"], row["calls_exact"]) == (1.0, 1.0, 1.0)


def test_a_refused_call_changes_nothing():
    fresh = read_json(LIBRARY / "db.json")
    state = read_json(LIBRARY / "db.json")
    for name, arguments in (
        ("get_member", {"member_id": "m-9"}),
        ("pay_fees", {"member_id": "m-104", "cents": 301}),
        ("cancel_reservation", {"member_id": "m-101", "book_id": "b-1"}),
        ("reserve_book", {"member_id": "m-104", "book_id": "b-1"}),
    ):
        with pytest.raises(ToolError):
            library.call(state, name, arguments)
    assert state == fresh


def test_a_scripted_user_says_each_line_once():
    user = ScriptedUser({"opening": "Hi", "replies": [{"when": "name", "say": "Ann"}]})
    assert [user.opening(), user.reply("Your NAME?"), user.reply("Your name?")] == [
        "Hi",
        "Ann",
        STOP,
    ]


async def replied(monkeypatch, *failures, pauses_s=(0.01, 0.01)):
    """What a user whom a model plays says first, where the first requests fail so."""
    monkeypatch.setattr(users, "_PAUSES_S", pauses_s)
    endpoint = ScriptedEndpoint(lambda messages: "Hello.", failures=list(failures))
    async with endpoint.serving():
        user = ModelUser("x", base_url=endpoint.base_url, model="m", seed=1)
        return await asyncio.to_thread(user.opening)


async def test_a_model_that_plays_the_user_is_asked_again_where_that_may_help(monkeypatch):
    assert await replied(monkeypatch, 429, 503) == "Hello."
    for failures in ([503] * 3, [401]):
        with pytest.raises(OutsideFailure, match="gave no reply"):
            await replied(monkeypatch, *failures)
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        await replied(monkeypatch, 400)
    monkeypatch.setattr(users, "_PAUSES_S", ())
    nobody = ModelUser("x", base_url="http://127.0.0.1:9/v1", model="m", seed=1)
    with pytest.raises(OutsideFailure, match="ConnectError"):
        nobody.opening()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(401, Outcome.ENVIRONMENT_ERROR), (400, Outcome.BROKE_ENVIRONMENT)],
)
async def test_a_user_who_falls_silent_is_not_the_agents_failure(tmp_path, status, outcome):
    def opens(messages):
        endpoint.failures.append(status)
        return "Hello."

    endpoint = ScriptedEndpoint(opens)
    async with endpoint.serving():
        suite = build({"user_url": endpoint.base_url})
        chosen = Selection(task_ids=("1",))
        agent = following(suite, "planned", lambda task: BYE)
        [episode] = await run(suite, agent, EpisodeStore(tmp_path), chosen)
    assert episode.trajectory.outcome is outcome


async def test_a_model_that_plays_the_user_is_told_what_is_no_text_for_utf8():
    async with ScriptedEndpoint(lambda messages: "Hello.").serving() as endpoint:
        user = ModelUser("x", base_url=endpoint.base_url, model="m", seed=1)
        await asyncio.to_thread(user.reply, "So \ud800?")
    assert endpoint.requests[0]["messages"][-1]["content"] == "So \\ud800?"


TAU2 = {
    "id": "7",
    "user_scenario": {
        "persona": None,
        "instructions": {"reason_for_call": "x", "known_info": None},
    },
    "initial_state": None,
    "evaluation_criteria": {
        "actions": [
            {"action_id": "0", "name": "get", "arguments": {"a": 1}},
            {"action_id": "1", "name": "toggle", "arguments": {}, "requestor": "user"},
        ],
        "communicate_info": ["10"],
        "nl_assertions": None,
    },
}


def test_tasks_are_read_in_tau2s_format():
    [task] = read_tasks(json.dumps([TAU2]).encode())
    assert task.actions == (Action("get", {"a": 1}),)
    assert (task.communicate, task.basis) == (("10",), ("DB", "COMMUNICATE"))
    assert (task.scenario, task.script) == ("reason_for_call: x", None)
    with pytest.raises(ConfigError, match="not in tau2's format"):
        read_tasks(b'[{"id": "1"}]')


def test_users_without_a_script_need_a_model(tmp_path):
    for name in ("db.json", "policy.md"):
        (tmp_path / name).write_text((LIBRARY / name).read_text())
    (tmp_path / "tasks.json").write_text(json.dumps([TAU2]))
    with pytest.raises(ConfigError, match="no scripted user"):
        build({"path": str(tmp_path)})
    suite = build({"path": str(tmp_path), "user_url": "http://127.0.0.1:9/v1"})
    assert [task.task_id for task in suite.tasks] == ["7"]


def test_the_options_of_the_command_line_are_those_of_the_suite():
    """They can be overridden there only where the file names them."""
    conf = Path(__file__).parents[3] / "conf" / "suite" / "tau.yaml"
    options = yaml.safe_load(conf.read_text())["options"]
    assert {"domain", "path", "user_url", "silent_users"} <= set(options)
    assert build(options).tasks == build({}).tasks


async def test_what_needs_a_judge_is_unscored(tmp_path):
    suite, episode = await play(tmp_path, [RENEW, *BYE])
    reference = episode.task.reference
    reference.extra["basis"].append("NL_ASSERTION")
    with pytest.raises(ValueError, match="NL_ASSERTION is not supported"):
        await suite.scorer(episode.task, episode.trajectory)
