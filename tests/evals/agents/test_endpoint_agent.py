"""An endpoint as an agent: what is asked, what is read, and which failure is whose."""

import asyncio
import json

import pytest
from scripted_endpoint import ScriptedEndpoint
from toy_suite import toy_suite, toy_task

from clawjax.evals.agents.endpoint import Sampling, chat_messages, open_endpoint
from clawjax.evals.harness.failures import AgentFailure, ContextLimitReached
from clawjax.evals.harness.outcome import Outcome
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.tasks import Limits
from clawjax.evals.harness.trajectory import AgentTurn, Message, RawCall


def calling(name, **arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"id": "c1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def solve(messages):
    return calling("answer", text="3") if messages[-1]["role"] == "tool" else calling("add", n=3)


def solve_in_text(messages):
    if len(messages) > 2:
        return 'Done.\nAction: answer\nArguments: {"text": "3"}'
    return 'Action: add\nArguments: {"n": 3}'


@pytest.mark.parametrize(("uses_tools", "reply"), [(True, solve), (False, solve_in_text)])
async def test_an_endpoint_solves_a_task(tmp_path, uses_tools, reply):
    async with (
        ScriptedEndpoint(reply).serving() as endpoint,
        open_endpoint(
            name="it",
            base_url=endpoint.base_url,
            model="m",
            sampling=Sampling(uses_tools=uses_tools, max_tokens=9),
        ) as agent,
    ):
        suite = toy_suite(toy_task(3))
        [episode] = await run(suite, agent, EpisodeStore(tmp_path), Selection())
    assert episode.score.value == 1.0
    assert episode.trajectory.steps[0].turn.usage.completion_tokens == 2
    assert all(headers["x-turn-type"] == "side" for headers in endpoint.headers)
    assert len({headers["x-session-id"] for headers in endpoint.headers}) == 1
    first = endpoint.requests[0]
    assert (first["max_tokens"], "tools" in first) == (9, uses_tools)
    assert ("Tools:" in first["messages"][0]["content"]) != uses_tools


GO = (Message("user", "go"),)


async def act(endpoint, history=GO):
    async with open_endpoint(
        name="it", base_url=endpoint.base_url, model="m", sampling=Sampling(), retries=0
    ) as agent:
        return await agent.act(toy_task(3).brief("x"), history, seed=1)


WORDINGS = {
    "openai": (400, {
        "message": "This model's maximum context length is 4096 tokens. However, your messages "
        "resulted in 4390 tokens.", "code": "context_length_exceeded"}),
    "llama-server": (400, {
        "message": "request (4390 tokens) exceeds the available context size (4096 tokens), try "
        "increasing it", "type": "exceed_context_size_error", "code": 400}),
    "llama-server, in other words": (400, {
        "message": "no room", "type": "exceed_context_size_error", "code": 400}),
    "llama-server, in a reply": (500, {
        "message": "Context size has been exceeded.", "type": "server_error", "code": 500}),
    "vllm": (400, {
        "message": "The decoder prompt (length 4390) is longer than the maximum model length of "
        "4096.", "type": "BadRequestError", "code": 400}),
    "sglang": (400, {
        "message": "The input (4390 tokens) is longer than the model's context length (4096 "
        "tokens).", "type": "BadRequestError", "code": 400}),
    "text-generation-inference": (422, {
        "message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. "
        "Given: 4390 `inputs` tokens and 512 `max_new_tokens`", "type": "validation"}),
    "anthropic": (400, {
        "message": "prompt is too long: 4390 tokens > 4096 maximum",
        "type": "invalid_request_error"}),
}  # fmt: skip


@pytest.mark.parametrize("server", WORDINGS)
async def test_each_servers_words_for_a_full_context_are_understood(server):
    status, error = WORDINGS[server]
    told = ScriptedEndpoint(solve, failures=[status], error=error)
    async with told.serving() as endpoint:
        with pytest.raises(ContextLimitReached):
            await act(endpoint)


@pytest.mark.parametrize(
    ("status", "code", "failure"),
    [
        (400, "context_length_exceeded", ContextLimitReached),
        (400, "invalid_value", AgentFailure),
        (500, None, AgentFailure),
    ],
)
async def test_a_full_context_is_told_from_a_failing_server(status, code, failure):
    async with ScriptedEndpoint(solve, failures=[status], code=code).serving() as endpoint:
        with pytest.raises(failure):
            await act(endpoint)


async def test_nobody_there_is_the_agents_failure():
    told = r"no reply from http://127\.0\.0\.1:9/v1/: .*\(ConnectError: All connection attempts"
    with pytest.raises(AgentFailure, match=told):
        await act(ScriptedEndpoint(solve, port=9))


async def test_an_endpoint_that_refuses_is_named():
    async with ScriptedEndpoint(solve, failures=[404]).serving() as endpoint:
        with pytest.raises(AgentFailure, match=f"status 404 from {endpoint.base_url}/: "):
            await act(endpoint)


def at_most(wall_s):
    return toy_suite(toy_task(3, limits=Limits(turns=4, wall_s=wall_s)))


async def test_a_silent_endpoint_is_no_slow_agent_and_is_played_again(tmp_path):
    async def silent(reader, writer):
        try:
            await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    asked = {"name": "it", "model": "m", "sampling": Sampling()}
    store = EpisodeStore(tmp_path)
    async with server, open_endpoint(base_url=base_url, timeout_s=60.0, **asked) as agent:
        [episode] = await run(at_most(0.5), agent, store, Selection())
    assert (episode.trajectory.outcome, episode.score.value) == (Outcome.AGENT_ERROR, None)
    assert "the endpoint did not answer in 0." in episode.trajectory.detail
    async with (
        ScriptedEndpoint(solve).serving() as endpoint,
        open_endpoint(base_url=endpoint.base_url, **asked) as agent,
    ):
        [episode] = await run(at_most(0.5), agent, store, Selection())
    assert episode.trajectory.attempt == 1


class SecondIsLate:
    """Replies once, then not before the episode's time is up."""

    name = "second-is-late"

    def __init__(self, timeout_s):
        self.timeout_s = timeout_s

    async def act(self, brief, history, *, seed):
        await asyncio.sleep(0.01 if len(history) == 1 else 60)
        return AgentTurn(text='Action: add\nArguments: {"n": 1}')


@pytest.mark.parametrize(
    ("timeout_s", "outcome"), [(60.0, Outcome.TASK_LIMIT), (0.1, Outcome.AGENT_ERROR)]
)
async def test_a_late_reply_is_the_agents_until_its_own_timeout(tmp_path, timeout_s, outcome):
    [episode] = await run(
        at_most(1.0), SecondIsLate(timeout_s), EpisodeStore(tmp_path), Selection()
    )
    assert (len(episode.trajectory.steps), episode.trajectory.outcome) == (1, outcome)


async def test_what_is_no_text_for_utf8_is_sent_back_written_out():
    history = [
        Message("user", "go"),
        Message("assistant", "so \ud800", (RawCall("c", "add", '{"n": "\ud800"}'),)),
        Message("tool", "what is \ud800?", call_id="c"),
    ]
    async with ScriptedEndpoint(solve).serving() as endpoint:
        await act(endpoint, history)
    sent = endpoint.requests[0]["messages"]
    assert (sent[1]["content"], sent[2]["content"]) == ("so \\ud800", "what is \\ud800?")
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == {"n": "\ud800"}


@pytest.mark.parametrize("arguments", ["{n", "[" * 9999])
def test_arguments_that_are_no_json_are_not_sent_back(arguments):
    history = [Message("assistant", "", (RawCall("c", "add", arguments),))]
    [message] = chat_messages(toy_task(3).brief("x"), history, uses_tools=True)
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"
