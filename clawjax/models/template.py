"""Chat templates: Jinja text that comes with a model, run in a sandbox.

The environment is the one Hugging Face documents for templates, so that a model's own template
renders as it does there. A template that refuses a conversation is the client's fault.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from clawjax.errors import ConfigError, WireError
from clawjax.openai_form import call_form
from clawjax.records import Message

__all__ = ["CHATML", "ChatTemplate"]

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The plainest template; what random models speak."""

_RENDER_ERRORS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    RecursionError,
)
"""Whatever a template may stumble over in a conversation it was not written for."""


class ChatTemplate:
    """A compiled chat template."""

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str] | None = None,
        *,
        with_tools: str | None = None,
    ) -> None:
        """Compile.

        Args:
            source: Jinja text.
            special_tokens: what the template may name, e.g. `bos_token` and `eos_token`.
            with_tools: Jinja text of where there are tools; None where `source` is for them, too.

        Raises:
            ConfigError: not a template.
        """
        self.source = source
        self.with_tools = with_tools
        self.special_tokens = dict(special_tokens or {})
        self._compiled = _compiled(source)
        self._compiled_with_tools = self._compiled if with_tools is None else _compiled(with_tools)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools_json: str | None = None,
        add_generation_prompt: bool = True,
        mark: Callable[[str], str] = str,
    ) -> str:
        """Write a conversation as the text the model was trained on.

        Args:
            messages: the conversation.
            tools_json: the tools that the model may call, as a JSON list.
            add_generation_prompt: whether a reply begins at the end.
            mark: applied to every string that does not come from the template.

        Raises:
            WireError: the template rejects the messages, also with their calls made one by one
                (those of Llama 3 take no others), or the tools are not a JSON list.
        """
        tools = None if tools_json is None else _parse_tools(tools_json)

        def written(messages: Sequence[Message]) -> str:
            return (self._compiled if tools is None else self._compiled_with_tools).render(
                **self.special_tokens,
                messages=_marked([_as_dict(message) for message in messages], mark),
                tools=_marked(tools, mark),
                documents=None,
                add_generation_prompt=add_generation_prompt,
            )

        try:
            return written(messages)
        except _RENDER_ERRORS as error:
            apart = _one_call_each(messages)
            if len(apart) > len(messages):
                with suppress(*_RENDER_ERRORS):
                    return written(apart)
            msg = f"the model's chat template rejects these messages: {error}"
            raise WireError(msg, code="invalid_messages", param="messages") from error


def _one_call_each(messages: Sequence[Message]) -> list[Message]:
    """The conversation as if calls had been made one after the other, each with its result."""
    told: list[Message] = []
    left = list(messages)
    while left:
        message = left.pop(0)
        if len(message.tool_calls) < 2:
            told.append(message)
            continue
        results: list[Message] = []
        while left and left[0].role == "tool":
            results.append(left.pop(0))
        for number, call in enumerate(message.tool_calls):
            said = message if number == 0 else replace(message, content="", reasoning=None)
            own = [each for each in results if each.tool_call_id == call.call_id]
            told += [replace(said, tool_calls=(call,)), *own]
            results = [each for each in results if each not in own]
        told += results
    return told


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}` marks the assistant's part in templates; here it is transparent."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """Keep what is between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _compiled(source: str) -> jinja2.Template:
    try:
        return _environment().from_string(source)
    except jinja2.TemplateError as error:
        msg = f"the model's chat template does not compile ({error}): fix chat_template"
        raise ConfigError(msg) from error


def _environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[jinja2.ext.loopcontrols, _GenerationTag],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without Jinja's HTML escapes."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateRuntimeError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)


def _parse_tools(tools_json: str) -> list[Any]:
    try:
        tools = json.loads(tools_json)
    except json.JSONDecodeError as error:
        msg = f"tools are not valid JSON ({error}): send a list of function tools"
        raise WireError(msg, code="invalid_tools", param="tools") from error
    if not isinstance(tools, list):
        msg = f"tools are a JSON {type(tools).__name__}: send a list of function tools"
        raise WireError(msg, code="invalid_tools", param="tools")
    return tools


def _as_dict(message: Message) -> dict[str, Any]:
    """A message as templates expect it; what is absent is not a key."""
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        fields["tool_calls"] = [
            call_form(call.call_id, call.name, _arguments(call.arguments))
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        fields["name"] = message.name
    if message.reasoning is not None:
        fields["reasoning_content"] = message.reasoning
    return fields


def _marked(value: Any, mark: Callable[[str], str]) -> Any:
    """Every string within, the keys of objects included."""
    match value:
        case str():
            return mark(value)
        case list():
            return [_marked(entry, mark) for entry in value]
        case dict():
            return {mark(key): _marked(entry, mark) for key, entry in value.items()}
        case _:
            return value


def _arguments(text: str) -> dict[str, Any] | str:
    """Parsed where it is a JSON object; as the model wrote it otherwise."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return parsed if isinstance(parsed, dict) else text
