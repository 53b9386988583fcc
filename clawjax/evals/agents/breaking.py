"""An agent whose calls programs choke on: a gate of every suite is that it solves nothing.

To break an environment is no way out either: an episode that has no score is in no mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

from clawjax.evals.agents.scripted import ScriptedAgent
from clawjax.evals.harness.rendering import as_call
from clawjax.evals.harness.tasks import ANSWER, Action, Brief

__all__ = ["odd_agent"]

_ODD = ("\0", "\ud800", "\uffff" * 2000, "%s%n{}\\'\";--\u202e\r\n", "../" * 99, "")
_EXTREME = {"integer": 2**63, "number": -1e4, "boolean": True, "object": {}}


def odd_agent() -> ScriptedAgent:
    """Calls every tool with odd arguments that its schema admits, then gives an odd answer."""
    return ScriptedAgent("odd", lambda brief: [as_call(action) for action in _actions(brief)])


def _actions(brief: Brief) -> Sequence[Action]:
    texts = cycle(_ODD)
    tools = [tool for tool in brief.tools if tool.name != ANSWER]
    calls = [Action(tool.name, _value(tool.parameters, texts)) for tool in tools]
    return (*calls[: brief.limits.turns - 1], Action.answer(next(texts)))


def _value(schema: Mapping[str, Any], texts: Iterator[str]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "string")
    kind = kind if isinstance(kind, str) else kind[0]
    if kind == "object" and "properties" in schema:
        return {name: _value(each, texts) for name, each in schema["properties"].items()}
    if kind == "array":
        return [_value(schema.get("items", {}), texts)]
    return _EXTREME.get(kind, next(texts))
