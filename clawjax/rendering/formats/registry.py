"""Which formats a model writes calls and thoughts in: by name, or by how its template does.

A format of one's own, for a model whose way is not known here, is named by its import path.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clawjax.errors import ConfigError, WireError
from clawjax.own import find, lacking, made
from clawjax.records import Message, ToolCall
from clawjax.rendering.formats.base import CallFormat
from clawjax.rendering.formats.hermes import HERMES
from clawjax.rendering.formats.llama_json import LLAMA_JSON
from clawjax.rendering.formats.mistral import MISTRAL, MISTRAL_ARGS
from clawjax.rendering.formats.plain_json import PLAIN_JSON
from clawjax.rendering.formats.pythonic import PYTHONIC
from clawjax.rendering.formats.qwen_xml import QWEN_XML
from clawjax.rendering.formats.reasoning import ReasoningFormat, reasoning_format

__all__ = [
    "FORMATS",
    "Formats",
    "call_format",
    "formats_of",
    "named_format",
    "takes_one_call",
]

_SETTING = "gateway.tool_parser"

Render = Callable[[Sequence[Message], str | None], str]

FORMATS: Mapping[str, CallFormat] = {
    form.name: form for form in (HERMES, QWEN_XML, LLAMA_JSON, PYTHONIC, MISTRAL, PLAIN_JSON)
}
"""By `gateway.tool_parser`."""

_NAME, _KEY = "zqf", "zqk"
_SIGNS: tuple[tuple[str, CallFormat], ...] = (
    (f"<function={_NAME}>", QWEN_XML),
    ("[ARGS]", MISTRAL_ARGS),
    ("[TOOL_CALLS]", MISTRAL),
    ("<tool_call>", HERMES),
    (f"[{_NAME}(", PYTHONIC),
    ("<|python_tag|>", LLAMA_JSON),
    (f'"name": "{_NAME}", "parameters"', LLAMA_JSON),
    (f'"name": "{_NAME}", "arguments"', PLAIN_JSON),
)
"""What a template writes around a call, the more telling first."""


@dataclass(frozen=True, slots=True)
class Formats:
    """How a model writes what is not content."""

    calls: CallFormat
    reasoning: ReasoningFormat | None = None
    has_one_call: bool = False
    """Whether a reply that must call something calls one function: the model knows no other."""


def formats_of(render: Callable[..., str], *, tool_parser: str, reasoning_parser: str) -> Formats:
    """Those of a model, as a configuration names them or else as its template has them.

    Args:
        render: writes messages, with tools as JSON where there are some, by the model's template.
        tool_parser: `auto`, one of `FORMATS`, or an import path.
        reasoning_parser: `auto`, `none` or one of `REASONING`.

    Raises:
        ConfigError: as `named_format`.
    """
    return Formats(
        calls=call_format(tool_parser, render),
        reasoning=reasoning_format(reasoning_parser, render),
        has_one_call=takes_one_call(render),
    )


def call_format(name: str, render: Render) -> CallFormat:
    """The format that a configuration names; for `auto` the template's, Hermes' if it has none.

    Args:
        name: `auto`, one of `FORMATS`, or `package.module:name`.
        render: writes messages, with tools as JSON, by the model's template.

    Raises:
        ConfigError: as `named_format`.
    """
    chosen = named_format(name)
    if ":" in name and chosen is not None:
        return chosen
    told = _conversation_with_a_call(render)
    found = next((form for sign, form in _SIGNS if sign in told), HERMES)
    return found if chosen is None or found.name == name else chosen


def named_format(name: str) -> CallFormat | None:
    """The format that goes by a name, or that an import path leads to; None for `auto`.

    Args:
        name: as configured; a class that is found is made without arguments.

    Raises:
        ConfigError: nothing is found, or it is no `CallFormat`.
    """
    if ":" not in name:
        return FORMATS.get(name)
    form = find(name, _SETTING)
    if isinstance(form, type):
        form = made(name, {}, {}, setting=_SETTING, key=_SETTING)
    problems = lacking(form, CallFormat)
    if not problems and (isinstance(form.tags, str) or not all([form.name, *form.tags])):
        problems = [f"has tags={form.tags!r}, name={form.name!r}: give a list, and no empty text"]
    if problems:
        msg = (
            f"{_SETTING}={name} is a {type(form).__name__} that {', '.join(problems)}: it has to "
            "be a clawjax.rendering.formats.base.CallFormat"
        )
        raise ConfigError(msg)
    return form


def takes_one_call(render: Render) -> bool:
    """Whether a template writes a message's calls as if they had been made one by one."""
    calls = tuple(
        ToolCall(f"zq{number}234567", _NAME, json.dumps({_KEY: f"zqvalue{number}"}))
        for number in (1, 2)
    )
    results = (Message("tool", f"zqresult{c.call_id}", tool_call_id=c.call_id) for c in calls)
    try:
        told = render(
            (Message("user", "a"), Message("assistant", tool_calls=calls), *results), None
        )
    except WireError:
        return False
    return "zqvalue2" in told.partition("zqresult")[2]


def _conversation_with_a_call(render: Render) -> str:
    """A call of a function that nobody has, as the template writes it; empty where it refuses."""
    call = ToolCall("zq1234567", _NAME, json.dumps({_KEY: "v"}))
    asked = (Message("user", "a"), Message("assistant", tool_calls=(call,)))
    answered = (*asked, Message("tool", "b", tool_call_id=call.call_id, name=_NAME))
    parameters = {"type": "object", "properties": {_KEY: {"type": "string", "description": "c"}}}
    function = {"name": _NAME, "description": "d", "parameters": parameters}
    tools_json = json.dumps([{"type": "function", "function": function}])
    for messages in (answered, asked):
        try:
            return render(messages, tools_json)
        except WireError:  # the template wants another order
            continue
    return ""
