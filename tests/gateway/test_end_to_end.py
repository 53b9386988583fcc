"""The gateway on the real engine and a tiny random model, used through the official client."""

import openai
import pytest

from clawjax.config import EngineConfig, GatewayConfig, ModelConfig
from clawjax.gateway.app import GatewayDeps, create_app
from clawjax.records import FinishReason, NextStateKind

from .helpers import MODEL, assistant, serving, user

CONTEXT = 128


@pytest.fixture
async def engine():
    from clawjax.engine.embedded import EmbeddedEngine
    from clawjax.models.load import load_model

    model = load_model(ModelConfig(path="random:llama", context_length=CONTEXT))
    config = EngineConfig(
        slots=2,
        prefill_chunk=32,
        live_buckets=[CONTEXT],
        max_response_tokens=8,
        warm_up=False,
        compilation_cache=None,
    )
    engine = await EmbeddedEngine.start(model, config, None)
    yield engine
    await engine.aclose()


async def test_a_conversation_with_the_real_engine(engine, tokenizer, log):
    deps = GatewayDeps(
        engine=engine,
        tokenizer=tokenizer,
        log=log,
        config=GatewayConfig(),
        sampling_defaults=EngineConfig(max_response_tokens=8),
        model_name=MODEL,
    )
    async with serving(create_app(deps)) as url:
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
        create = client.chat.completions.create
        messages = [user("hi")]
        plain = await create(
            model=MODEL, messages=messages, n=2, seed=7, logprobs=True, top_logprobs=2
        )
        again = await create(model=MODEL, messages=messages, seed=7)
        text = plain.choices[0].message.content
        assert again.choices[0].message.content == text
        assert len(plain.choices[1].logprobs.content[0].top_logprobs) == 2

        messages += [assistant(text), user("go on")]
        chunks = await create(
            model=MODEL,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=5,
            seed=1,
        )
        *streamed, end = [chunk async for chunk in chunks]
        assert plain.usage.prompt_tokens_details.cached_tokens == 0
        known = end.usage.prompt_tokens_details.cached_tokens
        assert plain.usage.prompt_tokens < known < end.usage.prompt_tokens
        with pytest.raises(openai.BadRequestError, match="maximum context length is 128 tokens"):
            await create(model=MODEL, messages=[user("long " * 200)])

    turns = [judged.turn for judged in log.turns()]
    last = turns[-1]
    assert "".join(c.choices[0].delta.content or "" for c in streamed) == last.reply.content
    parent = next(turn for turn in turns if turn.turn_id == last.parent_turn_id)
    whole = parent.prompt_ids + parent.response_ids
    assert last.prompt_ids[: len(whole)] == whole
    assert last.finish_reason in (FinishReason.LENGTH, FinishReason.STOP)
    assert len(last.response_ids) <= 5
    assert [e.kind for e in log.get(parent.turn_id).next_states] == [NextStateKind.USER]
    for turn in turns:
        assert len(turn.response_ids) == len(turn.sampler_logprobs)
        assert tokenizer.decode(turn.response_ids) == turn.reply.content
