"""Patience with a restarting server, and nothing but whole replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import openai
import pytest
from scripted_endpoint import ScriptedEndpoint

from clawjax.envs.client import ChatClient
from clawjax.envs.user_settings import UserSettings
from clawjax.errors import EngineError

HELLO = [{"role": "user", "content": "Hello"}]
SettingsFor = Callable[..., UserSettings]


@asynccontextmanager
async def talking_to(
    endpoint: ScriptedEndpoint, settings_for: SettingsFor
) -> AsyncIterator[ChatClient]:
    """A client of a running endpoint."""
    async with (
        endpoint.serving(),
        ChatClient.connect(settings_for(endpoint.base_url)) as client,
    ):
        yield client


async def test_a_streamed_reply_is_read_to_its_end(settings_for: SettingsFor) -> None:
    endpoint = ScriptedEndpoint(lambda _: "Good morning")
    async with talking_to(endpoint, settings_for) as client:
        answer = await client.ask(HELLO, session="s-1")
    assert answer.text == "Good morning "
    assert (answer.response_id, answer.finish_reason) == ("chatcmpl-1", "stop")
    assert answer.completion_tokens == 2
    assert 0 < answer.first_token_s <= answer.latency_s
    request = endpoint.requests[0]
    assert request["stream"] is True
    assert request["stream_options"] == {"include_usage": True}
    assert request["model"] == "scripted"
    assert endpoint.headers[0]["x-session-id"] == "s-1"


async def test_no_session_means_no_header(settings_for: SettingsFor) -> None:
    endpoint = ScriptedEndpoint(lambda _: "Hi")
    async with talking_to(endpoint, settings_for) as client:
        await client.ask(HELLO, session=None)
    assert "x-session-id" not in endpoint.headers[0]
    assert "seed" not in endpoint.requests[0]


async def test_errors_of_a_restarting_server_are_waited_out_and_counted(
    settings_for: SettingsFor,
) -> None:
    endpoint = ScriptedEndpoint(lambda _: "Good morning", failures=[503, "break", 500])
    async with talking_to(endpoint, settings_for) as client:
        answer = await client.ask(HELLO, session=None)
        assert answer.text == "Good morning "
        assert client.take_errors() == {"503": 1, "connection": 1, "500": 1}
        assert client.take_errors() == {}


async def test_a_server_that_comes_back_is_found_again(settings_for: SettingsFor) -> None:
    endpoint = ScriptedEndpoint(lambda _: "Hi")
    async with endpoint.serving():
        pass
    async with asyncio.TaskGroup() as group, ChatClient.connect(
        settings_for(endpoint.base_url, model="scripted")
    ) as client:  # fmt: skip
        asking = group.create_task(client.ask(HELLO, session=None))
        await asyncio.sleep(0.1)
        async with endpoint.serving():
            assert (await asking).text == "Hi "


async def test_a_refusal_is_not_repeated(settings_for: SettingsFor) -> None:
    endpoint = ScriptedEndpoint(lambda _: "Hi", failures=[400])
    async with talking_to(endpoint, settings_for) as client:
        with pytest.raises(openai.BadRequestError):
            await client.ask(HELLO, session=None)
        assert client.take_errors() == {"400": 1}
    assert endpoint.requests == []


async def test_patience_ends_and_says_so(settings_for: SettingsFor) -> None:
    settings = settings_for("http://127.0.0.1:9/v1", model="any", retry_s=0.0)
    async with ChatClient.connect(settings) as client:
        with pytest.raises(EngineError, match=r"127\.0\.0\.1:9/v1 for 0 s.*running\?"):
            await client.ask(HELLO, session=None)


async def test_the_version_is_unknown_while_the_server_is_away(settings_for: SettingsFor) -> None:
    endpoint = ScriptedEndpoint(lambda _: "Hi", version=3)
    async with talking_to(endpoint, settings_for) as client:
        assert await client.version() == 3
    async with ChatClient.connect(settings_for(endpoint.base_url, model="m")) as client:
        assert await client.version() is None


async def test_feedback_takes_words_or_thumbs(settings_for: SettingsFor) -> None:
    endpoint = ScriptedEndpoint(lambda _: "Hi")
    async with talking_to(endpoint, settings_for) as client:
        await client.give_words("r-1", "Too long.")
        await client.give_thumbs("r-2", "up")
    assert endpoint.feedback == [
        {"response_id": "r-1", "text": "Too long."},
        {"response_id": "r-2", "thumbs": "up"},
    ]
