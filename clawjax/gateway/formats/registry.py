"""Which format a model writes its calls in: by name, or by how its template writes one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from clawjax.errors import WireError
from clawjax.gateway.formats.base import CallFormat
from clawjax.gateway.formats.hermes import HERMES
from clawjax.gateway.formats.llama_json import LLAMA_JSON
from clawjax.gateway.formats.mistral import MISTRAL, MISTRAL_ARGS
from clawjax.gateway.formats.plain_json import PLAIN_JSON
from clawjax.gateway.formats.pythonic import PYTHONIC
from clawjax.gateway.formats.qwen_xml import QWEN_XML
from clawjax.records import Message, ToolCall

__all__ = ["FORMATS", "call_format", "takes_one_call"]

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


def call_format(name: str, render: Render) -> CallFormat:
    """The format that a configuration names; for `auto` the template's, Hermes' if it has none.

    Args:
        name: `auto` or one of `FORMATS`.
        render: writes messages, with tools as JSON, by the model's template.
    """
    told = _conversation_with_a_call(render)
    found = next((form for sign, form in _SIGNS if sign in told), HERMES)
    if name == "auto" or found.name == name:
        return found
    return FORMATS[name]


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
