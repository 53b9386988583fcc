"""The embedded engine, and the client with an engine server: the same replies, by every version."""

from __future__ import annotations

from contextlib import AsyncExitStack

import numpy as np
import pytest
from _engine_servers import running_servers
from _rollouts import opened
from _tiny_versions import MODEL
from sampled_replies import TOKENIZER, collect, request

from clawjax.config import EngineConfig
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.models.load import load_model
from clawjax.protocols import ScoreRequest
from clawjax.weights import DirectoryWeightStore

pytestmark = pytest.mark.slow

PROMPTS = tuple(
    TOKENIZER.encode(text) for text in ("hello how are you", "a", "please list two words " * 12)
)
TOKENS = 40


async def check_replies(ours, theirs, version: int) -> tuple[int, ...]:
    """Of both engines; the ids of all replies."""
    every: tuple[int, ...] = ()
    for index, prompt in enumerate(PROMPTS):
        name = f"{version}-{index}"
        greedy = request(name, prompt=prompt, tokens=TOKENS, temperature=0.0, ignore_eos=True)
        drawn = request(f"{name}d", prompt=prompt, tokens=TOKENS, temperature=0.7, ignore_eos=True)
        for asked in (greedy, drawn):
            one, other = await collect(ours, asked), await collect(theirs, asked)
            assert one.token_ids == other.token_ids, asked
            assert one.text == other.text
            assert one.versions == other.versions == (version,) * TOKENS
            for field in ("sampler_logprobs", "sampler_logprobs_t1"):
                np.testing.assert_allclose(getattr(one, field), getattr(other, field), atol=1e-4)
            scored = ScoreRequest(f"{name}s", prompt, one.token_ids)
            scores = await ours.score(scored), await theirs.score(scored)
            np.testing.assert_allclose(*scores, atol=1e-4)
            every += one.token_ids
    return every


@pytest.mark.parametrize(
    ("transport", "kinds", "options"),
    [
        pytest.param(
            "disk",
            ("adapter", "full"),
            (),
            id="a merged adapter, then all weights",
            marks=pytest.mark.thorough,
        ),
        pytest.param("adapter", ("adapter",), ("--enable-lora",), id="adapters beside the base"),
    ],
)
async def test_versions_sound_the_same_wherever_they_are_served(
    tmp_path, transport, kinds, options
):
    config = EngineConfig(
        slots=4,
        kept_prefixes=0,
        prefill_chunk=32,
        compilation_cache=str(tmp_path / "xla"),
        warm_up=False,
    )
    options = ("--skip-server-warmup", *options)
    with running_servers(
        1, tmp_path, model=MODEL.path, context_length=MODEL.context_length, options=options
    ) as (server,):
        async with AsyncExitStack() as stack:
            endpoint = await stack.enter_async_context(
                opened([server.url], tmp_path, transport=transport, kinds=kinds)
            )
            store = DirectoryWeightStore(tmp_path / "weights")
            embedded = await EmbeddedEngine.start(load_model(MODEL), config, store)
            stack.push_async_callback(embedded.aclose)
            replies = [await check_replies(endpoint.engine, embedded, 0)]
            for version in (1, 2):
                await endpoint.publish(version, [server.url])
                latest = store.latest()
                assert latest is not None
                await embedded.swap(latest)
                replies.append(await check_replies(endpoint.engine, embedded, version))
    assert len(set(replies)) == 3, "versions differ"
