"""Tools and structured output with the official client, over HTTP, on the real engine."""

import json
from typing import Literal

import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletionAllowedToolChoiceParam

from clawjax.config import EngineConfig, GatewayConfig, ModelConfig
from clawjax.gateway.app import GatewayDeps, create_app

from .helpers import MODEL, serving, user

CONTEXT = 2048
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "set_light",
            "parameters": {
                "type": "object",
                "properties": {
                    "is_on": {"type": "boolean"},
                    "room": {"enum": ["kitchen", "hall"]},
                },
                "required": ["is_on", "room"],
            },
        },
    },
    {"type": "function", "function": {"name": "now"}},
]


class Weather(pydantic.BaseModel):
    is_sunny: bool
    wind: Literal["calm", "strong"]


@pytest.fixture
async def engine():
    from clawjax.engine.embedded import EmbeddedEngine
    from clawjax.models.load import load_model

    model = load_model(ModelConfig(path="random:llama", context_length=CONTEXT))
    config = EngineConfig(
        slots=2,
        prefill_chunk=128,
        live_buckets=[CONTEXT],
        warm_up=False,
        compilation_cache=None,
    )
    engine = await EmbeddedEngine.start(model, config, None)
    yield engine
    await engine.aclose()


def fits(call) -> bool:
    arguments = json.loads(call.function.arguments)
    if call.function.name == "now":
        return isinstance(arguments, dict)
    return set(arguments) == {"is_on", "room"} and arguments["room"] in ("kitchen", "hall")


async def test_replies_are_what_the_client_asked_for(engine, tokenizer, log):
    deps = GatewayDeps(
        engine=engine,
        tokenizer=tokenizer,
        log=log,
        config=GatewayConfig(),
        sampling_defaults=EngineConfig(max_response_tokens=200, temperature=1.0),
        model_name=MODEL,
    )
    async with serving(create_app(deps)) as url:
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
        asked = {"model": MODEL, "messages": [user("light, please")], "seed": 3}
        named = {"type": "function", "function": {"name": "set_light"}}
        one = await client.chat.completions.create(**asked, tools=TOOLS, tool_choice=named)
        (call,) = one.choices[0].message.tool_calls
        assert call.function.name == "set_light"
        assert fits(call)
        assert one.choices[0].finish_reason == "tool_calls"
        assert not one.choices[0].message.content

        several: ChatCompletionAllowedToolChoiceParam = {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [named]},
        }
        chosen = await client.chat.completions.create(
            **asked, tools=TOOLS, tool_choice=several, parallel_tool_calls=False
        )
        assert [call.function.name for call in chosen.choices[0].message.tool_calls] == [
            "set_light"
        ]

        only = [TOOLS[0]]
        async with client.chat.completions.stream(
            **asked, tools=only, tool_choice="required", max_tokens=400
        ) as stream:
            first = [
                event.chunk.choices[0].delta.tool_calls[0]
                async for event in stream
                if event.type == "chunk" and event.chunk.choices[0].delta.tool_calls
            ]
            final = (await stream.get_final_completion()).choices[0]
        assert (first[0].index, first[0].function.name) == (0, "set_light")
        assert len(first) > 3
        complete = final.message.tool_calls[: None if final.finish_reason == "tool_calls" else -1]
        assert complete
        assert all(fits(call) for call in complete)

        none = await client.chat.completions.create(
            **asked, tools=TOOLS, tool_choice="none", max_tokens=8
        )
        assert none.choices[0].message.tool_calls is None

        parsed = await client.chat.completions.parse(**asked, response_format=Weather)
        assert isinstance(parsed.choices[0].message.parsed, Weather)
        with pytest.raises(openai.BadRequestError, match="cannot be used as a grammar"):
            await client.chat.completions.create(
                **asked,
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "nothing"}},
                },
            )

    turns = [judged.turn for judged in log.turns()]
    assert [turn.sampling.is_truncated for turn in turns] == [True, True, True, False, True]
    for turn in turns:
        assert len(turn.sampler_logprobs) == len(turn.response_ids)
        assert turn.sampling.grammar or turn.sampler_logprobs == turn.sampler_logprobs_t1
    forced = turns[0]
    assert tokenizer.decode(forced.response_ids).startswith("<tool_call>")
    assert forced.reply.malformed is None
    pairs = zip(forced.sampler_logprobs, forced.sampler_logprobs_t1, strict=True)
    assert all(drawn >= free - 1e-4 for drawn, free in pairs)
