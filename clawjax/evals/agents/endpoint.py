"""Any OpenAI-compatible endpoint as an agent; the policy's gateway is one of them.

Invariant: every request is a side turn with the lowest urgency, so that an evaluation of the policy
is never trained on and delays nobody. Other servers ignore those headers.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from clawjax.evals.harness.failures import AgentFailure, ContextLimitReached
from clawjax.evals.harness.tasks import Brief, Tool
from clawjax.evals.harness.trajectory import AgentTurn, Message, RawCall, Usage
from clawjax.openai_form import call_form, wire_text

__all__ = ["EndpointAgent", "Sampling", "chat_messages", "open_endpoint"]

_HEADERS = {"X-Turn-Type": "side", "X-Priority": "2"}
_TOO_LONG = (
    "context_length_exceeded",
    "context length",
    "too long",
    "exceed_context_size",  # llama-server
    "available context size",
    "maximum model length",  # vLLM
    "`inputs` tokens + `max_new_tokens` must be",  # text-generation-inference
    "`inputs` must have less than",
)
_FULL = "context size has been exceeded"  # llama-server, in the middle of a reply, as a 500
_SESSION_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Sampling:
    """How replies are asked for."""

    temperature: float = 0.0
    max_tokens: int = 512
    uses_tools: bool = True
    """Tool calls of the API; False: tools are described in the system message and actions are
    written as the suite's `text_rules` say."""


@dataclass(frozen=True, slots=True)
class EndpointAgent:
    """One model behind one endpoint; made by `open_endpoint`."""

    name: str
    model: str
    sampling: Sampling
    client: openai.AsyncOpenAI
    timeout_s: float
    """Of one attempt at one reply."""

    async def act(self, brief: Brief, history: Sequence[Message], *, seed: int) -> AgentTurn:
        """As `Agent.act`."""
        tools: Any = [_tool(tool) for tool in brief.tools] if self.sampling.uses_tools else []
        headers = {**_HEADERS, "X-Session-Id": _ascii(brief.episode_id)}
        began = time.monotonic()
        try:
            completion = await self.client.chat.completions.create(
                model=self.model,
                messages=chat_messages(brief, history, uses_tools=self.sampling.uses_tools),
                temperature=self.sampling.temperature,
                max_tokens=self.sampling.max_tokens,
                seed=seed,
                tools=tools or openai.omit,
                extra_headers=headers,
            )
        except openai.APIStatusError as error:
            raise _failure(error, str(self.client.base_url)) from error
        except openai.APIError as error:
            raise AgentFailure(f"no reply from {self.client.base_url}: {_told(error)}") from error
        return _turn(completion, time.monotonic() - began)


@asynccontextmanager
async def open_endpoint(
    *,
    name: str,
    base_url: str,
    model: str,
    sampling: Sampling,
    api_key: str = "none",
    timeout_s: float = 300.0,
    retries: int = 4,
) -> AsyncIterator[EndpointAgent]:
    """An agent as long as the context lasts.

    Args:
        name: as reports call it.
        base_url: e.g. `http://127.0.0.1:30000/v1`.
        model: the name the endpoint serves it by.
        sampling: how replies are asked for.
        api_key: bearer key.
        timeout_s: of one attempt at one reply.
        retries: further attempts where the server is unreachable or answers 5xx.
    """
    async with openai.AsyncOpenAI(
        base_url=base_url, api_key=api_key, timeout=timeout_s, max_retries=retries
    ) as client:
        yield EndpointAgent(name, model, sampling, client, timeout_s)


def chat_messages(
    brief: Brief, history: Sequence[Message], *, uses_tools: bool
) -> list[ChatCompletionMessageParam]:
    """The conversation in the API's form."""
    system = brief.system if uses_tools else _system_with_tools(brief)
    found: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    found += [_message(message) for message in history]
    return cast("list[ChatCompletionMessageParam]", found)


def _message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": wire_text(message.text)}
    if message.calls:
        wire["tool_calls"] = [_wire_call(call) for call in message.calls]
    if message.call_id is not None:
        wire["tool_call_id"] = wire_text(message.call_id)
    return wire


def _wire_call(call: RawCall) -> dict[str, Any]:
    """Servers refuse arguments that are no JSON object, also those their own model wrote."""
    arguments = wire_text(call.arguments) if _is_object(call) else "{}"
    return call_form(wire_text(call.call_id), wire_text(call.name), arguments)


def _is_object(call: RawCall) -> bool:
    try:
        return isinstance(json.loads(call.arguments), dict)
    except (ValueError, RecursionError):
        return False


def _system_with_tools(brief: Brief) -> str:
    listed = [
        f"- {tool.name}: {tool.description}\n  arguments: {json.dumps(dict(tool.parameters))}"
        for tool in brief.tools
    ]
    tools = "Tools:\n" + "\n".join(listed) if listed else ""
    return "\n\n".join(part for part in (brief.system, tools, brief.text_rules) if part)


def _tool(tool: Tool) -> Mapping[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}


def _turn(completion: ChatCompletion, latency_s: float) -> AgentTurn:
    choice = completion.choices[0]
    usage = completion.usage
    return AgentTurn(
        text=choice.message.content or "",
        calls=tuple(
            RawCall(call.id, call.function.name, call.function.arguments)
            for call in choice.message.tool_calls or ()
            if call.type == "function"
        ),
        usage=Usage() if usage is None else Usage(usage.prompt_tokens, usage.completion_tokens),
        latency_s=latency_s,
        finish_reason=choice.finish_reason,
    )


def _told(error: openai.APIError) -> str:
    """With what lies beneath: the client calls every broken connection a connection error."""
    cause = error.__cause__
    return str(error) if cause is None else f"{error} ({type(cause).__name__}: {cause})"


def _failure(error: openai.APIStatusError, url: str) -> ContextLimitReached | AgentFailure:
    told = f"{error.code or ''} {error.type or ''} {error.message}".lower()
    is_refused = error.status_code in (400, 413, 422)
    if _FULL in told or (is_refused and any(sign in told for sign in _TOO_LONG)):
        return ContextLimitReached(error.message)
    return AgentFailure(f"status {error.status_code} from {url}: {error.message}")


def _ascii(episode_id: str) -> str:
    plain = episode_id.encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() else "?" for c in plain)[-_SESSION_CHARACTERS:]
