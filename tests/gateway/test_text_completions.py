"""The text dialect: prompts without a template, and the official client."""

import openai
import pytest

from clawjax.config import EngineConfig
from clawjax.errors import WireError
from clawjax.gateway.dialects.text import parse_text_request
from clawjax.records import TurnKind

from .helpers import MODEL, serving

DEFAULTS = EngineConfig(max_response_tokens=64)


@pytest.mark.parametrize(
    ("prompt", "read"),
    [("hi", "hi"), (["hi"], "hi"), ([1, 2], (1, 2)), ([[1, 2]], (1, 2))],
)
def test_a_prompt_is_text_or_tokens(prompt, read):
    request = parse_text_request({"prompt": prompt}, DEFAULTS)
    assert request.prompt == read
    assert (request.sampling.max_response_tokens, request.wants_logprobs) == (16, False)


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({}, "prompt", "got null"),
        ({"prompt": ""}, "prompt", "not empty"),
        ({"prompt": []}, "prompt", "got array"),
        ({"prompt": [1, -1]}, "prompt", "got array"),
        ({"prompt": [True]}, "prompt", "got array"),
        ({"prompt": ["a", "b"]}, "prompt", "2 prompts are too many"),
        ({"prompt": [[1], [2]]}, "prompt", "2 prompts are too many"),
        ({"prompt": "a", "echo": True}, "echo", "put it before the text yourself"),
        ({"prompt": "a", "suffix": "b"}, "suffix", "cannot be inserted"),
        ({"prompt": "a", "best_of": 3}, "best_of", "not ranked"),
        ({"prompt": "a", "logprobs": 21}, "logprobs", "at most 20"),
    ],
)
def test_what_is_wrong_is_named(body, param, said):
    with pytest.raises(WireError) as caught:
        parse_text_request(body, DEFAULTS)
    assert caught.value.param == param
    assert said in caught.value.message


@pytest.mark.parametrize("is_ids", [False, True])
async def test_a_text_goes_on_with_the_space_before_its_next_word(
    make_gateway, spacing_tokenizer, is_ids
):
    gateway = make_gateway(["upon"], with_tokenizer=spacing_tokenizer)
    prompt = list(spacing_tokenizer.encode("Once")) if is_ids else "Once"
    answer = await gateway.client.post("/v1/completions", json={"prompt": prompt})
    assert answer.json()["choices"][0]["text"] == " upon"


async def test_the_official_client_continues_texts(make_gateway, tokenizer):
    gateway = make_gateway([" a time", " a mime", "<think>not a thought"])
    async with serving(gateway.app) as url:
        create = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k").completions.create
        whole = await create(model=MODEL, prompt="Once upon", n=2, max_tokens=50, logprobs=0)
        ids = list(tokenizer.encode("Once upon"))
        events = await create(
            model=MODEL,
            prompt=ids,
            max_tokens=50,
            stream=True,
            logprobs=0,
            stream_options={"include_usage": True},
        )
        *chunks, usage = [event async for event in events]
    turns = gateway.turns()
    assert [choice.text for choice in whole.choices] == [" a time", " a mime"]
    assert {turn.prompt_ids for turn in turns} == {tuple(ids)}
    assert {turn.kind for turn in turns} == {TurnKind.SIDE}
    assert whole.id.isalnum()
    assert whole.usage.prompt_tokens == len(ids)
    assert "".join(chunk.choices[0].text for chunk in chunks) == "<think>not a thought"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert usage.usage.completion_tokens == len(turns[2].response_ids)
    for choice, turn in zip(whole.choices, turns, strict=False):
        assert len(choice.logprobs.tokens) == len(turn.response_ids)
        assert choice.logprobs.text_offset[:2] == [0, len(choice.logprobs.tokens[0])]
    offsets = [at for chunk in chunks for at in chunk.choices[0].logprobs.text_offset]
    assert len(offsets) == len(turns[2].response_ids)
    assert offsets == sorted(offsets)
