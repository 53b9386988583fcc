"""Whole conversations over HTTP with a scripted endpoint."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_endpoint import ScriptedEndpoint

from clawjax.envs.client import ChatClient
from clawjax.envs.persona import load_persona
from clawjax.envs.simulated_user import SessionPlan, SimulatedUser, main, plan_session
from clawjax.envs.user_settings import UserSettings, UserState
from clawjax.errors import EngineError
from clawjax.metrics.jsonl import read_jsonl

SettingsFor = Callable[..., UserSettings]
BRIEF = load_persona("brief")
SHORT = "Ten minutes in boiling water will do."


def by_turns(messages: list[dict[str, str]]) -> str:
    """Long at first, short where the user has reacted before."""
    return SHORT if len(messages) > 1 else "and so on " * 40


def plan(seed: int, index: int) -> SessionPlan:
    return plan_session(BRIEF, seed, index, leave_rate=0.05)


async def talk(settings: UserSettings) -> UserState:
    async with ChatClient.connect(settings) as client:
        return await SimulatedUser(settings, BRIEF, client).run()


async def talk_to(
    endpoint: ScriptedEndpoint, settings_for: SettingsFor, **changes: Any
) -> UserState:
    async with endpoint.serving():
        return await talk(settings_for(endpoint.base_url, **changes))


def recorded(settings_for: SettingsFor) -> list[dict[str, Any]]:
    return read_jsonl(Path(settings_for("").run_dir) / "user.jsonl")


async def test_every_turn_is_recorded_with_the_mood_it_caused(settings_for: SettingsFor) -> None:
    state = await talk_to(ScriptedEndpoint(by_turns), settings_for, max_turns=40)
    turns = recorded(settings_for)
    assert len(turns) == state.turns == 40
    for turn in turns:
        expected = "complaint" if turn["turn"] == 0 else "praise"
        assert turn["style"] == float(expected == "praise")
        assert turn["mood"] in (expected, "neutral", None)
        assert (turn["mood"] is None) == (turn["reaction"] is None) == (turn["channel"] is None)
        assert turn["words"] == (120 if turn["turn"] == 0 else 7)
    assert {turn["mood"] for turn in turns} >= {"praise", "complaint"}
    metrics = read_jsonl(Path(settings_for("").run_dir) / "metrics.jsonl")
    assert [m["user/style"] for m in metrics] == [turn["style"] for turn in turns]


async def test_a_reply_is_scored_with_the_question_it_answers(settings_for: SettingsFor) -> None:
    endpoint = ScriptedEndpoint(
        lambda messages: f"Well done! You could tell us more: {messages[-1]['content']}"
    )
    async with endpoint.serving():
        settings = settings_for(endpoint.base_url, persona="teacher", max_turns=12)
        async with ChatClient.connect(settings) as client:
            await SimulatedUser(settings, load_persona("teacher"), client).run()
    turns = recorded(settings_for)
    assert {turn["mood"] for turn in turns} <= {"praise", "neutral", None}
    assert {turn["style"] for turn in turns} == {1.0}


async def test_conversations_extend_their_history_and_react_in_it(
    settings_for: SettingsFor,
) -> None:
    endpoint = ScriptedEndpoint(by_turns)
    await talk_to(endpoint, settings_for, max_turns=30)
    reactions = [t["reaction"] for t in recorded(settings_for) if t["channel"] == "message"]
    later = [request["messages"] for request in endpoint.requests if len(request["messages"]) > 1]
    assert later
    for messages in later:
        assert [m["role"] for m in messages] == ["user", "assistant"] * (len(messages) // 2) + [
            "user"
        ]
        assert any(reaction in messages[-1]["content"] for reaction in reactions)
    asked_before = [request["messages"] for request in endpoint.requests]
    assert all(messages[:-2] in asked_before for messages in later)


async def test_last_replies_get_their_reaction_as_feedback(settings_for: SettingsFor) -> None:
    endpoint = ScriptedEndpoint(by_turns)
    await talk_to(endpoint, settings_for, max_turns=60)
    given_back = {entry["response_id"]: entry for entry in endpoint.feedback}
    expected = {
        t["response_id"]: t for t in recorded(settings_for) if t["channel"] in ("words", "thumbs")
    }
    assert given_back.keys() == expected.keys()
    for response_id, turn in expected.items():
        entry = given_back[response_id]
        if turn["channel"] == "thumbs":
            assert entry["thumbs"] == {"praise": "up", "complaint": "down"}[turn["mood"]]
        else:
            assert entry["text"] == turn["reaction"]
    assert {turn["channel"] for turn in expected.values()} == {"words", "thumbs"}


@pytest.mark.parametrize(("leave_rate", "silent"), [(0.0, 0), (1.0, 5)])
async def test_who_leaves_says_nothing_and_nobody_has_to(
    settings_for: SettingsFor, leave_rate: float, silent: int
) -> None:
    changes = {"max_turns": 12, "concurrency": 1, "leave_rate": leave_rate}
    await talk_to(ScriptedEndpoint(by_turns), settings_for, **changes)
    turns = recorded(settings_for)
    assert sum(turn["reaction"] is None for turn in turns) == silent
    assert len({turn["session"] for turn in turns}) == 5


async def test_every_turn_has_a_seed_of_its_own_which_the_users_seed_decides(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    async def drawn(name: str, seed: int) -> list[int]:
        endpoint = ScriptedEndpoint(by_turns)
        run = {"run_dir": str(tmp_path / name), "concurrency": 1, "max_turns": 8, "seed": seed}
        await talk_to(endpoint, settings_for, **run)
        return [request["seed"] for request in endpoint.requests]

    first, again, other = await drawn("a", 1), await drawn("b", 1), await drawn("c", 2)
    assert first == again
    assert len({*first, *other}) == 16


async def test_half_of_the_sessions_send_an_id(settings_for: SettingsFor) -> None:
    endpoint = ScriptedEndpoint(by_turns)
    await talk_to(endpoint, settings_for, max_turns=30)
    first = [
        headers.get("x-session-id")
        for headers, request in zip(endpoint.headers, endpoint.requests, strict=True)
        if len(request["messages"]) == 1
    ]
    named = [session for session in first if session is not None]
    assert abs(2 * len(named) - len(first)) <= 1
    assert len(set(named)) == len(named)


async def test_the_user_leaves_once_the_policy_was_updated_often_enough(
    settings_for: SettingsFor,
) -> None:
    endpoint = ScriptedEndpoint(by_turns, version=4)

    def reply(messages: list[dict[str, str]]) -> str:
        endpoint.version = 5 if len(endpoint.requests) >= 10 else 4
        return SHORT

    endpoint.reply = reply
    state = await talk_to(endpoint, settings_for, max_turns=10_000, updates=5, think_s=0.01)
    assert 10 <= state.turns < 100


async def test_a_refused_request_ends_its_session_only(settings_for: SettingsFor) -> None:
    endpoint = ScriptedEndpoint(by_turns, failures=[400])
    state = await talk_to(endpoint, settings_for, max_turns=8, concurrency=1)
    assert state.turns == 8
    assert state.status_errors == {"400": 1}


async def test_a_user_who_is_always_refused_gives_up(settings_for: SettingsFor) -> None:
    endpoint = ScriptedEndpoint(by_turns, failures=[404] * 50)
    with pytest.raises(EngineError, match="5 requests in a row were refused"):
        await talk_to(endpoint, settings_for, concurrency=1)
    assert len(endpoint.failures) == 45


async def test_a_user_whose_supervisor_was_killed_leaves(settings_for: SettingsFor) -> None:
    never_a_parent = os.getpid()
    with pytest.raises(
        EngineError, match=f"process {never_a_parent} that started this user is gone"
    ):
        await talk_to(
            ScriptedEndpoint(by_turns), settings_for, parent_pid=never_a_parent, think_s=1.0
        )


async def test_a_server_that_restarts_costs_no_turn(settings_for: SettingsFor) -> None:
    endpoint = ScriptedEndpoint(by_turns)
    async with endpoint.serving():
        settings = settings_for(endpoint.base_url, max_turns=60, think_s=0.02, model="scripted")
        user = asyncio.create_task(talk(settings))
        while len(endpoint.requests) < 10:  # noqa: ASYNC110 - the endpoint has no event to await
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    async with endpoint.serving():
        state = await user
    turns = recorded(settings_for)
    assert state.turns == len(turns) == 60
    assert state.connection_errors > 0
    assert len({(turn["session"], turn["turn"]) for turn in turns}) == 60


async def test_running_again_goes_on_with_new_sessions(settings_for: SettingsFor) -> None:
    endpoint = ScriptedEndpoint(by_turns)
    first = await talk_to(endpoint, settings_for, max_turns=7)
    second = await talk_to(endpoint, settings_for, max_turns=15)
    turns = recorded(settings_for)
    assert (first.turns, second.turns, len(turns)) == (7, 15, 15)
    assert second.elapsed_s > first.elapsed_s
    before, after = turns[:7], turns[7:]
    assert {t["session"] for t in before}.isdisjoint({t["session"] for t in after})
    third = await talk_to(endpoint, settings_for, max_turns=15)
    assert third.turns == 15


@given(st.integers(0, 50))
def test_no_question_returns_before_all_were_asked(seed: int) -> None:
    sessions = [plan(seed, index) for index in range(len(BRIEF.train) // 3)]
    asked = [number for plan in sessions for number, _ in plan.questions]
    assert len(set(asked)) == len(asked)
    assert {len(plan.questions) for plan in sessions} == {2, 3}


def test_plans_depend_on_seed_and_number_alone() -> None:
    assert plan(3, 11) == plan(3, 11)
    assert plan(3, 11) != plan(4, 11)


async def test_the_process_exits_with_0_when_done(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    endpoint = ScriptedEndpoint(by_turns)
    async with endpoint.serving():
        settings_for(endpoint.base_url, max_turns=5).write(tmp_path / "user.json")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "clawjax.envs.simulated_user",
            "--config", str(tmp_path / "user.json"),
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stderr=subprocess.PIPE,
        )  # fmt: skip
        _, said = await asyncio.wait_for(process.communicate(), timeout=30)
    assert (process.returncode, said) == (0, b"")
    assert len(recorded(settings_for)) == 5


def test_the_process_says_what_is_wrong(
    settings_for: SettingsFor, tmp_path: Path, caplog: Any
) -> None:
    config = tmp_path / "user.json"
    config.write_text(json.dumps({"base_url": "x", "run_dir": str(tmp_path), "sed": 1}))
    assert main(["--config", str(config)]) == 2
    assert "unknown key 'sed'" in caplog.text
    settings_for("http://127.0.0.1:9/v1", retry_s=0.0).write(config)
    assert main(["--config", str(config)]) == 1
    assert "is the server running?" in caplog.text
