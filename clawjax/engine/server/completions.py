"""`/v1/completions`: OpenAI's older form, text or token ids in, text out."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple, cast

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from clawjax.engine.server.answers import Answer, Json
from clawjax.engine.server.backend import Settings, Startup
from clawjax.engine.server.generate_route import send_events
from clawjax.engine.server.generating import Generator
from clawjax.engine.server.wire import SEED_RANGE, GenerateCall, parse_generate
from clawjax.gateway.connection import read_object, run_while_connected
from clawjax.gateway.dialects.text import refuse_what_is_not_served
from clawjax.gateway.wire import JsonObject, as_object, read_flag, read_integer

__all__ = ["CompletionsRoute", "completion_call"]

_DEFAULT_TOKENS = 16
"""OpenAI's."""
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "stop", "stop_token_ids", "ignore_eos", "n")
_OTHERS = ("rid", "stream", "priority", "lora_path", "extra_key")


class _Call(NamedTuple):
    id: str
    created: int
    generate: GenerateCall
    wants_logprobs: bool
    wants_usage: bool


def completion_call(body: JsonObject, new_id: str) -> GenerateCall:
    """The same request as one to `/generate`.

    Raises:
        WireError: 400, naming the field.
    """
    refuse_what_is_not_served(body)
    prompt = body.get("prompt")
    is_ids = isinstance(prompt, list) and not isinstance((prompt or [""])[0], str)
    tokens = read_integer(body, "max_tokens", 0)
    params: Json = {name: body.get(name) for name in _SAMPLING}
    params["max_new_tokens"] = _DEFAULT_TOKENS if tokens is None else tokens
    params["sampling_seed"] = body.get("seed")
    logprobs = read_integer(body, "logprobs", 0, 5)
    native: Json = {name: body.get(name) for name in _OTHERS} | {
        "input_ids" if is_ids else "text": prompt,
        "sampling_params": params,
        "return_logprob": logprobs is not None,
        "top_logprobs_num": logprobs or 0,
    }
    return parse_generate(
        native, new_rid=lambda: new_id, draw_seed=lambda: secrets.randbelow(SEED_RANGE)
    )


class CompletionsRoute:
    """An ASGI application."""

    def __init__(self, startup: Startup, settings: Settings) -> None:
        """Answer when there is a backend."""
        self._startup = startup
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        http = Request(scope, receive)
        generator = self._startup.backend.generator
        body = await read_object(http, self._settings.max_body_bytes)
        new_id = f"cmpl-{uuid.uuid4().hex}"
        options = body.get("stream_options")
        call = _Call(
            id=new_id,
            created=int(time.time()),
            generate=completion_call(body, new_id),
            wants_logprobs=body.get("logprobs") is not None,
            wants_usage=options is not None
            and bool(read_flag(as_object(options, "stream_options"), "include_usage")),
        )
        if call.generate.is_stream:
            work = send_events(self._events(call, generator), send)
        else:
            work = self._whole(call, generator, scope, receive, send)
        await run_while_connected(work, receive)

    async def _whole(
        self, call: _Call, generator: Generator, scope: Scope, receive: Receive, send: Send
    ) -> None:
        answers = await generator.finish_all(call.generate.wanted)
        choices = [
            _choice(call, index, answer, answer.text, 0) for index, answer in enumerate(answers)
        ]
        await JSONResponse(self._body(call, choices, _usage(answers)))(scope, receive, send)

    async def _events(self, call: _Call, generator: Generator) -> AsyncGenerator[Json]:
        answers: dict[int, Answer] = {}
        shown: dict[int, tuple[int, int]] = {}

        def show(index: int, answer: Answer) -> Json:
            characters, tokens = shown.get(index, (0, 0))
            answers[index] = answer
            shown[index] = len(answer.text), len(answer.token_ids)
            choice = _choice(call, index, answer, answer.text[characters:], tokens)
            return self._body(call, [choice], None)

        async with aclosing(generator.grow_all(call.generate.wanted, show)) as events:
            async for event in events:
                yield event
        if call.wants_usage:
            yield self._body(call, [], _usage(list(answers.values())))

    def _body(self, call: _Call, choices: list[Json], usage: Json | None) -> Json:
        return {
            "id": call.id,
            "object": "text_completion",
            "created": call.created,
            "model": self._settings.model_name,
            "choices": choices,
            "usage": usage,
        }


def _choice(call: _Call, index: int, answer: Answer, text: str, first: int) -> Json:
    """What is new of one reply: its text, and its tokens from `first` on."""
    reason = answer.finish()
    return {
        "index": index,
        "text": text,
        "logprobs": _logprobs(answer, first) if call.wants_logprobs else None,
        "finish_reason": None if reason is None else cast(str, reason["type"]),
        "matched_stop": answer.matched,
    }


def _logprobs(answer: Answer, first: int) -> Json:
    words = answer.tokenizer.special_text
    return {
        "tokens": [words(token) for token in answer.token_ids[first:]],
        "token_logprobs": answer.logprobs[first:],
        "top_logprobs": [
            {words(token): logprob for token, logprob in tops}
            for tops in answer.top_logprobs[first:]
        ],
        "text_offset": [],
    }


def _usage(answers: Sequence[Answer]) -> Json:
    """Each prompt counts once, however many replies it has."""
    prompts = {answer.prompt_ids: len(answer.prompt_ids) for answer in answers}
    prompt, drawn = sum(prompts.values()), sum(len(answer.token_ids) for answer in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": drawn,
        "total_tokens": prompt + drawn,
        "prompt_tokens_details": None,
    }
