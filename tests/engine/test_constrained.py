"""Replies with a grammar among others: drawn within it, with the log-probs of what was drawn."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from engine_driver import LogitsOf, Reply, log_softmax, prompt, recomputed, request, run
from tokenizers import Tokenizer, decoders

from clawjax.config import EngineConfig, ModelConfig
from clawjax.engine.constraint import Grammars, masks
from clawjax.engine.decode import Decoder
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.engine.replies import Job
from clawjax.engine.scheduler import Scheduler, Weights
from clawjax.engine.text import ReplyText
from clawjax.errors import WireError
from clawjax.models.load import LoadedModel, load_model
from clawjax.models.template import CHATML, ChatTemplate
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import GenerateRequest, TokenChunk
from clawjax.records import FinishReason, Grammar, GrammarKind, Message, SamplingParams

CHOICE = Grammar(GrammarKind.REGEX, "(good|hello) (list|word)[0-9]{3}")
BURST = 4


def constrained(asked: GenerateRequest, grammar: Grammar) -> GenerateRequest:
    sampling = replace(asked.sampling, grammar=grammar, ignore_eos=False)
    return replace(asked, sampling=sampling)


def drive(
    scheduler: Scheduler, grammars: Grammars, asked: list[GenerateRequest]
) -> dict[GenerateRequest, Reply]:
    """Submit one per step, so that they join and leave."""
    jobs: dict[Job, Reply] = {}
    owners: dict[Job, GenerateRequest] = {}
    for one in asked:
        grammar = one.sampling.grammar
        constraint = None if grammar is None else grammars.constraint(grammar)
        job = Job(one, one.sampling.max_response_tokens, constraint=constraint)
        owners[job], jobs[job] = one, Reply()
        scheduler.submit(job)
        for delivered, chunk in scheduler.step():
            jobs[delivered].chunks.append(chunk)
    while not scheduler.is_idle:
        for delivered, chunk in scheduler.step():
            jobs[delivered].chunks.append(chunk)
    return {owners[job]: reply for job, reply in jobs.items()}


@pytest.fixture(scope="module")
def grammars(model: LoadedModel) -> Grammars:
    return Grammars(model.tokenizer, model.architecture.vocab_size)


@pytest.fixture(scope="module")
def bursting(model: LoadedModel, config: EngineConfig) -> Decoder:
    """Draws several tokens per call where nothing stands against it."""
    decoder = Decoder(
        model.architecture, model.context_length, replace(config, tokens_per_dispatch=BURST)
    )
    decoder.warm_up(model.params)
    decoder.prepare(decoder.masked_shapes(), model.params)
    return decoder


@pytest.fixture
def new_scheduler(model: LoadedModel, bursting: Decoder) -> Scheduler:
    return Scheduler(
        bursting,
        Weights(model.params, 0),
        eos_ids=model.tokenizer.eos_ids,
        new_text=lambda stops, _: ReplyText(model.tokenizer.detokenizer(), stops),
    )


def test_grammars_mix_with_free_replies_and_nothing_is_compiled(
    new_scheduler: Scheduler,
    bursting: Decoder,
    model: LoadedModel,
    grammars: Grammars,
    logits_of: LogitsOf,
) -> None:
    compiled = bursting.compiled
    free = [request(prompt(7 + i, seed=i), 14, seed=i, temperature=0.9) for i in range(4)]
    bound = [
        constrained(request(prompt(5 + i, seed=i), 40, seed=i, temperature=t), CHOICE)
        for i, t in enumerate([0.0, 0.7, 1.0, 1.3])
    ]
    asked = [one for pair in zip(free, bound, strict=True) for one in pair]
    replies = drive(new_scheduler, grammars, asked)
    assert bursting.compiled == compiled
    alone = dict(zip(free, run(new_scheduler, *free), strict=True))
    for one in free:
        assert replies[one].ids == alone[one].ids
    for one in bound:
        reply = replies[one]
        assert reply.finish_reason is FinishReason.STOP
        assert reply.text.rstrip("0123456789") in (
            "good list", "good word", "hello list", "hello word"
        )  # fmt: skip
        expected = recomputed(logits_of, model.params, one, reply.ids)
        np.testing.assert_allclose(reply.logprobs_t1, expected, atol=1e-4)
        within = renormalised(grammars, logits_of, model, one, reply.ids)
        np.testing.assert_allclose(reply.logprobs, within, atol=1e-4)


def renormalised(
    grammars: Grammars,
    logits_of: LogitsOf,
    model: LoadedModel,
    asked: GenerateRequest,
    ids: tuple[int, ...],
) -> list[float]:
    """Log-probs among what the grammar allowed, at the temperature drawn at (1 for greedy)."""
    assert asked.sampling.grammar is not None
    constraint = grammars.constraint(asked.sampling.grammar)
    vocab = model.architecture.vocab_size
    start = len(asked.prompt_ids) - 1
    logits = logits_of(model.params, (*asked.prompt_ids, *ids))[start:]
    found = []
    for row, token in zip(logits[: len(ids)], ids, strict=True):
        mask = masks([constraint], vocab)
        assert mask is not None
        allowed = np.unpackbits(mask.view(np.uint8), bitorder="little")[:vocab] > 0
        cut = np.where(allowed, row / (asked.sampling.temperature or 1.0), -np.inf)
        found.append(log_softmax(cut)[token])
        constraint.take(token)
    return found


def test_who_gives_way_goes_on_in_its_grammar(new_scheduler: Scheduler, grammars: Grammars) -> None:
    long = constrained(
        request(prompt(6), 90, temperature=1.0), Grammar(GrammarKind.REGEX, "(ab|cd){20}")
    )
    asked = [replace(long, request_id=f"r{i}", seed=i, priority=1) for i in range(3)]
    urgent = [replace(one, priority=0, request_id=f"u{i}") for i, one in enumerate(asked)]
    mixed = drive(new_scheduler, grammars, [*asked, *urgent])
    calm = drive(new_scheduler, grammars, asked)
    for one in asked:
        assert mixed[one].ids == calm[one].ids
        assert mixed[one].finish_reason is FinishReason.STOP


def test_a_grammar_that_fails_ends_its_reply_only(
    new_scheduler: Scheduler, grammars: Grammars
) -> None:
    free = request(prompt(7), 10)
    bound = constrained(request(prompt(5), 40), CHOICE)
    constraint = grammars.constraint(CHOICE)
    constraint.take(3)
    assert constraint.trouble is not None
    jobs = {Job(free, 10): Reply(), Job(bound, 40, constraint=constraint): Reply()}
    for job in jobs:
        new_scheduler.submit(job)
    while not new_scheduler.is_idle:
        for job, chunk in new_scheduler.step():
            jobs[job].chunks.append(chunk)
    ends = [reply.finish_reason for reply in jobs.values()]
    assert ends == [FinishReason.LENGTH, FinishReason.CANCELLED]


async def collect(engine: EmbeddedEngine, asked: GenerateRequest) -> Reply:
    reply = Reply()
    async with aclosing(cast("AsyncGenerator[TokenChunk]", engine.generate(asked))) as chunks:
        async for chunk in chunks:
            reply.chunks.append(chunk)
    return reply


async def test_the_engine_takes_grammars_and_refuses_bad_ones(
    model: LoadedModel, config: EngineConfig
) -> None:
    engine = await EmbeddedEngine.start(model, config, None)
    try:
        asked = constrained(request(prompt(5), 40, temperature=1.0), CHOICE)
        reply = await collect(engine, asked)
        assert reply.finish_reason is FinishReason.STOP
        assert reply.text.startswith(("good ", "hello "))
        bad = constrained(asked, Grammar(GrammarKind.JSON_SCHEMA, '{"type": "nothing"}'))
        with pytest.raises(WireError, match="cannot be used as a grammar"):
            await collect(engine, bad)
        with pytest.raises(WireError, match="cannot be used as a grammar"):
            await engine.check(bad)
        await engine.check(asked)
        endless = replace(asked, sampling=replace(asked.sampling, ignore_eos=True))
        with pytest.raises(WireError, match="ignore_eos"):
            await collect(engine, endless)
    finally:
        await engine.aclose()


async def test_a_reply_that_goes_on_keeps_its_first_space(
    model: LoadedModel, config: EngineConfig
) -> None:
    vocabulary = Tokenizer.from_str(model.tokenizer._tokenizer.to_str())
    vocabulary.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    ends = model.tokenizer.eos_ids
    spacing = replace(
        model, tokenizer=ChatTokenizer(vocabulary, ChatTemplate(CHATML), eos_ids=ends)
    )
    engine = await EmbeddedEngine.start(spacing, config, None)
    try:
        asked = constrained(request(prompt(5), 20), Grammar(GrammarKind.REGEX, " hello"))
        assert (await collect(engine, asked)).text == "hello"
        assert (await collect(engine, replace(asked, goes_on=True))).text == " hello"
    finally:
        await engine.aclose()


@pytest.mark.slow
async def test_the_default_model_calls_a_tool_when_it_has_to() -> None:
    model = load_model(ModelConfig(context_length=256))
    config = EngineConfig(slots=2, live_buckets=[256], warm_up=False)
    messages = [Message("user", "What is the weather like in Paris?")]
    prompt_ids = model.tokenizer.encode(model.tokenizer.render(messages))
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city", "unit"],
        "additionalProperties": False,
    }
    form = {
        "type": "tag",
        "begin": '<tool_call>\n{"name": "get_weather", "arguments": ',
        "content": {"type": "json_schema", "json_schema": schema},
        "end": "}\n</tool_call>",
    }
    grammar = Grammar(GrammarKind.STRUCTURAL_TAG, json.dumps({"format": form}))
    asked = GenerateRequest("r", prompt_ids, SamplingParams(96, 0.0, grammar=grammar), 0)
    engine = await EmbeddedEngine.start(model, config, None)
    try:
        reply = await collect(engine, asked)
    finally:
        await engine.aclose()
    inner = reply.text.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
    call = json.loads(inner)
    assert call["name"] == "get_weather"
    assert set(call["arguments"]) == {"city", "unit"}
    assert "Paris" in call["arguments"]["city"]
    assert reply.finish_reason is FinishReason.STOP
    assert np.isfinite(reply.logprobs).all()
    assert (np.asarray(reply.logprobs) >= np.asarray(reply.logprobs_t1) - 1e-4).all()
