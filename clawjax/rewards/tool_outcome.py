"""Scores a turn's tool calls by what their results prove: tests, exit codes, declared forms.

The reference scores any result that is no error +1, so that whatever an agent calls is praised.
Here a result that merely came back is an abstention. Needs no model; a result is read in
microseconds. Owns how the evidence of parallel calls becomes one score: its mean.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from clawjax.config import ToolOutcomeConfig
from clawjax.records import Component, NextState, Turn, Verdict
from clawjax.review.episodes import has_results
from clawjax.rewards.evidence import evidence_of

__all__ = ["ToolOutcomeReward"]


class ToolOutcomeReward:
    """Reads the tool messages that came after a reply."""

    name = "tool_outcome"

    def __init__(self, config: ToolOutcomeConfig) -> None:
        """Count evidence as configured."""
        self._config = config

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether a tool has answered."""
        return has_results(next_state)

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """The mean of what is proven; one component per result."""
        calls = {call.call_id: call for call in turn.reply.tool_calls}
        only = turn.reply.tool_calls[0] if len(calls) == 1 else None
        declared = _declared(turn.tools_json)
        components = []
        for result in next_state.messages:
            if result.role != "tool":
                continue
            call = calls.get(result.tool_call_id or "", only)
            name = call.name if call is not None else result.name or "tool"
            found = evidence_of(result, call, declared.get(name), self._config)
            components.append(Component(name, found.score, found.why))
        proven = [part.score for part in components if part.score is not None]
        return Verdict(
            turn_id=turn.turn_id,
            module=self.name,
            score=fmean(proven) if proven else None,
            judged_at=time.time(),
            explanation="; ".join(dict.fromkeys(part.note for part in components)),
            components=tuple(components),
        )

    async def aclose(self) -> None:
        """Nothing is held."""


def _declared(tools_json: str | None) -> Mapping[str, Mapping[str, Any]]:
    """JSON schemas of results by tool: MCP's `outputSchema`, or `output_schema`."""
    found: dict[str, Mapping[str, Any]] = {}
    for tool in json.loads(tools_json) if tools_json else ():
        function = tool.get("function", tool) if isinstance(tool, dict) else {}
        schema = function.get("outputSchema", function.get("output_schema"))
        if isinstance(schema, dict) and isinstance(function.get("name"), str):
            found[function["name"]] = schema
    return found
