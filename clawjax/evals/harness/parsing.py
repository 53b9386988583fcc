"""From replies to actions: tool calls, or text in a fixed form.

Invariant: nothing is guessed and nothing evaluated. A reply is a `Parsed`, a `FormatError` or an
`InvalidAction`; arguments are JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from clawjax.evals.harness.protocols import ActionParser, FormatError, InvalidAction, Parsed
from clawjax.evals.harness.tasks import Action, Brief, Tool
from clawjax.evals.harness.trajectory import AgentTurn, RawCall
from clawjax.json_schema import schema_problem

__all__ = [
    "ACTION_RULES",
    "TextParser",
    "checked",
    "final_answer",
    "parse_action_text",
    "reply_parser",
    "say",
]

TextParser = Callable[[str, Brief], Parsed | FormatError | InvalidAction]

ACTION_RULES = """\
To use a tool, end your reply with these two lines:
Action: NAME_OF_THE_TOOL
Arguments: {"argument": "value"}
You are then told what came of it. One action per reply; the arguments are one line of JSON."""

_ACTION = re.compile(r"^[ \t]*Action:[ \t]*`?([\w.\-]+)`?[ \t]*$", re.MULTILINE)
_ARGUMENTS = re.compile(r"\s*Arguments:[ \t]*")
_FINAL = re.compile(r"FINAL ANSWER[*_`]*\s*:[\s*_`]*", re.IGNORECASE)
_MARKS = "*_` \t\r"
_AROUND = re.compile(r"\[([^\[\]]*)\]|\\boxed\{([^{}]*)\}")
_MOST_LEVELS = 64
_FORM = "end it with the lines `Action: TOOL` and `Arguments: {JSON}`"


def reply_parser(on_text: TextParser) -> ActionParser:
    """Tool calls where there are any, otherwise the text by a rule of the suite's.

    Args:
        on_text: reads replies without tool calls.
    """

    def parse(turn: AgentTurn, brief: Brief) -> Parsed | FormatError | InvalidAction:
        if not turn.calls:
            return on_text(turn.text, brief)
        actions: list[Action] = []
        for call in turn.calls:
            found = _from_call(call, brief)
            if not isinstance(found, Parsed):
                return found
            actions += found.actions
        return Parsed(tuple(actions))

    return parse


def parse_action_text(text: str, brief: Brief) -> Parsed | FormatError | InvalidAction:
    """The last action written as `ACTION_RULES` says."""
    matches = list(_ACTION.finditer(text))
    if not matches:
        return FormatError(f"No action was found in your reply: {_FORM}.")
    last = matches[-1]
    begins = _ARGUMENTS.match(text, last.end())
    if begins is None:
        return _checked(last.group(1), "{}", brief)
    try:
        value, _ = json.JSONDecoder().raw_decode(text, begins.end())
    except (ValueError, RecursionError) as error:
        return FormatError(f"The arguments of {last.group(1)} are not JSON ({error}): {_FORM}.")
    return checked(last.group(1), value, brief)


def final_answer(text: str) -> str | None:
    """The line after the last `FINAL ANSWER:`, bare; None where there is none."""
    matches = list(_FINAL.finditer(text))
    if not matches:
        return None
    line = text[matches[-1].end() :].partition("\n")[0]
    return _bare(line)


def _bare(line: str) -> str:
    r"""Without Markdown's marks around it, and without one pair of brackets or `\boxed{}`."""
    line = line.strip(_MARKS)
    around = _AROUND.fullmatch(line)
    return line if around is None else (around[1] or around[2] or "").strip(_MARKS)


def say(text: str, brief: Brief) -> Parsed | FormatError:
    """Text that is meant for the user: for suites where plain text is a reply."""
    if not text.strip():
        return FormatError("Your reply was empty: say something or use a tool.")
    return Parsed((Action.respond(text),))


def checked(name: str, value: object, brief: Brief) -> Parsed | FormatError | InvalidAction:
    """An action, if the tool exists and takes these arguments."""
    if not _is_plain(value, _MOST_LEVELS):
        limit = f"{_MOST_LEVELS} levels and finite numbers"
        return FormatError(f"The arguments of {name} are no plain JSON: the limit is {limit}.")
    if not isinstance(value, dict):
        return FormatError(f"The arguments of {name} should be a JSON object, not {value!r:.60}.")
    tool = _tool(name, brief)
    if tool is None:
        known = ", ".join(each.name for each in brief.tools)
        return InvalidAction(f"There is no tool {name!r}: use {known}.")
    problem = schema_problem(value, tool.parameters)
    if problem is not None:
        return InvalidAction(f"{name} was not carried out: {problem}.")
    return Parsed((Action(name, value),))


def _from_call(call: RawCall, brief: Brief) -> Parsed | FormatError | InvalidAction:
    return _checked(call.name, call.arguments or "{}", brief)


def _checked(name: str, arguments: str, brief: Brief) -> Parsed | FormatError | InvalidAction:
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError) as error:
        return FormatError(f"The arguments of {name} are not JSON: {error}.")
    return checked(name, value, brief)


def _is_plain(value: Any, levels: int) -> bool:
    """Whether a record can hold it: JSON has no NaN, and writers follow no nesting without end."""
    if isinstance(value, float):
        return math.isfinite(value)
    if not isinstance(value, dict | list):
        return True
    inner: Iterable[Any] = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_plain(each, levels - 1) for each in inner)


def _tool(name: str, brief: Brief) -> Tool | None:
    return next((tool for tool in brief.tools if tool.name == name), None)
