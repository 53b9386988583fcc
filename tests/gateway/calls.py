"""Calls as models write them, and how they are read."""

import itertools
import json

from clawjax.gateway.parse import ReplyParser
from clawjax.rendering.formats.reasoning import REASONING
from clawjax.rendering.formats.registry import FORMATS

CALL = '<tool_call>\n{"name": "ls", "arguments": {"path": "/tmp"}}\n</tool_call>'
TOOLS = {
    "ls": {
        "type": "object",
        "properties": {"path": {"type": "string"}, "n": {"type": "integer"}, "any": {"type": None}},
    },
    "cat": {},
}


def read(
    *pieces,
    form="hermes",
    reasoning=None,
    opens_reasoning=False,
    is_cut=False,
    tools=TOOLS,
    begun="",
):
    """Content, thoughts, calls as `[id, name, arguments]`, and what is wrong."""
    ids = (f"call{i}" for i in itertools.count())
    parser = ReplyParser(
        FORMATS[form] if form else None,
        REASONING[reasoning] if reasoning else None,
        tools=tools,
        opens_reasoning=opens_reasoning,
        call_id=lambda: next(ids),
    )
    parser.go_on_behind(begun)
    deltas = [delta for piece in pieces for delta in parser.push(piece)]
    deltas += parser.flush(is_cut=is_cut)
    calls = []
    for delta in deltas:
        if delta.call is not None:
            if delta.call.name is not None:
                assert delta.call.position == len(calls)
                calls.append([delta.call.call_id, delta.call.name, ""])
            assert delta.call.position == len(calls) - 1
            calls[-1][2] += delta.call.arguments
    content = "".join(d.content for d in deltas)
    return content, "".join(d.reasoning for d in deltas), calls, parser.malformed


def told(calls):
    return [(name, json.loads(arguments)) for _, name, arguments in calls]


LS, CAT = ("ls", {"path": "/tmp"}), ("cat", {})
