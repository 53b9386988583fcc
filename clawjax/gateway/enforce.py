"""The grammar of a reply that the client does not leave free.

Owns what `tool_choice` and `response_format` mean together. Nothing is enforced where nothing was
asked: a reply that may call a tool but need not is drawn freely.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from clawjax.gateway.offers import ToolChoice
from clawjax.records import Grammar, GrammarKind
from clawjax.rendering.formats.base import Form, Tools
from clawjax.rendering.formats.reasoning import with_thought
from clawjax.rendering.formats.registry import Formats

__all__ = ["grammar_of"]


def grammar_of(
    formats: Formats,
    tools: Tools,
    tool_choice: ToolChoice,
    response_format: Mapping[str, object] | None,
    *,
    opens_reasoning: bool,
    is_parallel: bool = True,
) -> Grammar | None:
    """What a reply has to keep to, or None.

    A call by name is one call; `required` means one or more, where the model knows more; with
    `auto` a reply in a format of the client's may be calls instead.

    Args:
        formats: the model's.
        tools: the functions that are offered.
        tool_choice: the client's.
        response_format: the JSON schema of the reply's text.
        opens_reasoning: whether the prompt ends within a thought.
        is_parallel: whether there may be several calls.
    """
    is_parallel = is_parallel and not formats.has_one_call
    if tools and tool_choice not in ("auto", "none"):
        form = formats.calls.form(tools, is_one=tool_choice != "required" or not is_parallel)
    elif response_format is None:
        return None
    else:
        form = _json(response_format)
        if formats.reasoning is None and not tools:
            return Grammar(GrammarKind.JSON_SCHEMA, json.dumps(response_format))
        if tools and tool_choice == "auto":
            calls = formats.calls.form(tools, is_one=not is_parallel)
            form = {"type": "or", "elements": [form, calls]}
    whole = with_thought(form, formats.reasoning, is_open=opens_reasoning)
    tag = {"type": "structural_tag", "format": whole}
    return Grammar(GrammarKind.STRUCTURAL_TAG, json.dumps(tag))


def _json(schema: Mapping[str, object]) -> Form:
    return {"type": "json_schema", "json_schema": schema}
