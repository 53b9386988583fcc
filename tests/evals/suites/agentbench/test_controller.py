"""The client against a controller that refuses whatever is not of the protocol."""

import json

import httpx
import pytest
from fake_controller import INDICES, NAME, FakeController

from clawjax.errors import EvalError
from clawjax.evals.harness.failures import ContextLimitReached
from clawjax.evals.harness.trajectory import AgentTurn
from clawjax.evals.suites.agentbench.controller import (
    ControllerClient,
    agent_reply,
    run_indices,
)


@pytest.fixture
async def controller():
    made = FakeController()
    yield made
    assert made.refusals == []
    assert made.open == {}


async def says_three(history):
    return "3"


def counting():
    seen = []

    async def reply(history):
        seen.append([(each["role"], each["content"]) for each in history])
        return str(len(history))

    return reply, seen


async def test_a_sample_is_played_to_its_end(controller):
    async with controller.http() as http:
        reply, seen = counting()
        found = await ControllerClient(NAME, http).run_sample("one", reply)
    assert found.error is None
    assert (found.output.status, found.output.index, found.output.result) == ("completed", "one", 4)
    assert seen[1] == [("user", "First?"), ("agent", "1"), ("user", "Second?")]


async def test_what_the_agent_does_wrong_is_the_samples_result(controller):
    async def nonsense(history):
        return "no number"

    async def too_long(history):
        raise ContextLimitReached("8192 tokens")

    async with controller.http() as http:
        client = ControllerClient(NAME, http)
        assert (await client.run_sample(0, nonsense)).output.status == "agent validation failed"
        assert (await client.run_sample(0, too_long)).output.status == "agent context limit"


async def test_a_broken_agent_gives_the_session_back(controller):
    async def breaks(history):
        raise RuntimeError("no reply")

    async with controller.http() as http:
        found = await ControllerClient(NAME, http).run_sample(0, breaks)
    assert (found.error, found.info) == ("AGENT_FAILED", "no reply")
    assert controller.cancelled == [0]


async def test_a_broken_worker_is_named_and_the_session_given_back(controller):
    controller.breaks_at = 1
    async with controller.http() as http:
        found = await ControllerClient(NAME, http).run_sample(0, says_three)
    assert found.error == "INTERACT_FAILED"
    assert controller.cancelled == [0]


async def test_errors_before_the_start_have_upstreams_names():
    controller = FakeController()
    controller.busy = 1
    async with controller.http() as http:
        client = ControllerClient(NAME, http)
        assert (await client.run_sample(0, says_three)).error == "NOT_AVAILABLE"
        assert (await client.run_sample(99, says_three)).error == "START_FAILED"
        with pytest.raises(EvalError, match="status 400"):
            await ControllerClient("other", http).indices()
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9/api", timeout=5) as nobody:
        assert (
            await ControllerClient(NAME, nobody).run_sample(0, says_three)
        ).error == "NETWORK_ERROR"
        with pytest.raises(EvalError, match="does not answer"):
            await ControllerClient(NAME, nobody).free_places()


async def test_only_living_workers_have_places(controller):
    async with controller.http() as http:
        assert await ControllerClient(NAME, http).free_places() == 3


async def test_a_run_resumes_and_keeps_upstreams_files(controller, tmp_path):
    controller.busy = 2
    async with controller.http() as http:
        client = ControllerClient(NAME, http)
        first = await run_indices(client, lambda index: says_three, tmp_path, retry_s=0.0)
        again = await run_indices(client, lambda index: says_three, tmp_path, retry_s=0.0)
        assert await client.calculate_overall(again) == {"sum": 18}
    assert first == again
    assert controller.started == len(INDICES)
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert sorted(str(line["index"]) for line in lines) == sorted(map(str, INDICES))
    assert set(lines[0]) == {"index", "error", "info", "output", "time"}
    assert not (tmp_path / "error.jsonl").exists()


async def test_failed_samples_are_kept_apart_and_played_again(tmp_path):
    controller = FakeController()
    controller.breaks_at = 0
    async with controller.http() as http:
        client = ControllerClient(NAME, http)
        assert await run_indices(client, lambda index: says_three, tmp_path) == []
        assert len((tmp_path / "error.jsonl").read_text().splitlines()) == 3
        controller.breaks_at = None
        assert len(await run_indices(client, lambda index: says_three, tmp_path)) == 3


async def test_an_agent_of_ours_can_reply(controller):
    class Counter:
        name = "counter"

        async def act(self, brief, history, *, seed):
            assert [message.role for message in history][::2] == ["user"] * (len(history) // 2 + 1)
            return AgentTurn(str(len(history)))

    async with controller.http() as http:
        found = await ControllerClient(NAME, http).run_sample(2, agent_reply(Counter(), NAME, 2))
    assert found.output.result == 4
