"""WebArena's actions: as tools, as the text that its agents write, and from one to the other.

The text form is WebArena's own (Zhou et al. 2023, arXiv:2307.13854, `id_accessibility_tree`): one
action between triple backquotes, e.g. ```type [164] [kettle] [1]```. Besides by its number, an
element may be named by role and name as the observation shows them: ```click [link 'Cart']```.
Invariant: `read_action` reads what `write_action` writes, and nothing is evaluated.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from clawjax.evals.harness.parsing import checked
from clawjax.evals.harness.protocols import FormatError, InvalidAction, Parsed
from clawjax.evals.harness.tasks import ANSWER, Action, Brief, Tool
from clawjax.evals.harness.trajectory import AgentTurn

__all__ = [
    "ACTIONS",
    "GRAMMAR",
    "WEB_TOOLS",
    "canonical",
    "named_element",
    "read_action",
    "read_web_text",
    "read_with_long_answers",
    "render_web",
    "write_action",
]

ACTIONS = """\
Write one action per reply, between triple backquotes, e.g. ```click [1234]```. The actions are:
click [id]: click on an element, by its number in the accessibility tree
hover [id]: hover over an element
type [id] [text] [1]: type text into a field and press Enter; with [0] instead of [1], do not
press [keys]: press keys, e.g. press [Control+a]
scroll [up] or scroll [down]
new_tab, tab_focus [index], close_tab
goto [url], go_back, go_forward"""
"""All but how to stop."""

GRAMMAR = f"""\
{ACTIONS}
stop [answer]: the task is done. If it asks for an answer, put it here; if it cannot be done, stop
[N/A]."""

_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ELEMENT = rf"(\d+|\w+ (?:{_QUOTED})(?: \d+)?)"
_BLOCK = re.compile(r"```((.|\n)*?)```")
_LONG_STOP = re.compile(r"stop ?\[(.*)\]", re.DOTALL)
_NAMED = re.compile(rf"(\w+) ({_QUOTED})(?: (\d+))?")


def _tool(name: str, about: str, required: Mapping[str, Any], **optional: Any) -> Tool:
    schema = {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }
    return Tool(name, about, schema)


_TARGET = {
    "element": {
        "type": ["string", "integer"],
        "description": "Its number in the accessibility tree, or role and name as shown there, "
        "e.g. link 'Cart'.",
    }
}
_STRING = {"type": "string"}

WEB_TOOLS = (
    _tool("click", "Click on an element.", _TARGET),
    _tool("hover", "Hover over an element.", _TARGET),
    _tool(
        "type",
        "Click on a field and type text into it.",
        {**_TARGET, "text": _STRING},
        enter={"type": "boolean", "description": "Press Enter afterwards; true if left out."},
    ),
    _tool("press", "Press keys, e.g. Control+a.", {"keys": _STRING}),
    _tool("scroll", "Scroll by a screen.", {"direction": {"enum": ["up", "down"]}}),
    _tool("new_tab", "Open a tab.", {}),
    _tool("tab_focus", "Go to a tab, by its index from 0.", {"index": {"type": "integer"}}),
    _tool("close_tab", "Close this tab.", {}),
    _tool("goto", "Open a URL.", {"url": _STRING}),
    _tool("go_back", "Go back.", {}),
    _tool("go_forward", "Go forward.", {}),
    _tool(
        ANSWER,
        "The task is done: end it, with the answer if one is asked for, N/A if it cannot be done.",
        {"text": _STRING},
    ),
)


def read_web_text(text: str, brief: Brief) -> Parsed | FormatError | InvalidAction:
    """The first action between triple backquotes, as WebArena's harness reads replies."""
    block = _BLOCK.search(text)
    if block is None:
        return FormatError("No action was found: write one between triple backquotes.")
    action = read_action(block.group(1))
    if action is None:
        return FormatError(f"{block.group(1).strip()!r:.200} is no action of this browser.")
    return checked(action.name, dict(action.arguments), brief)


def read_with_long_answers(text: str, brief: Brief) -> Parsed | FormatError | InvalidAction:
    """The same, with answers of several lines, which WebArena's harness takes for empty ones."""
    block = _BLOCK.search(text)
    stop = None if block is None else _LONG_STOP.fullmatch(block.group(1).strip())
    if stop is None:
        return read_web_text(text, brief)
    return checked(ANSWER, {"text": stop.group(1)}, brief)


def read_action(line: str) -> Action | None:
    """One action as text; None where it is none.

    `create_id_based_action` of the published harness: the first word decides, the rest is searched
    for arguments in brackets, Enter is pressed after typing unless [0] says otherwise.
    """
    line = line.strip()
    if not line:
        return None
    word = (line.split("[")[0] if "[" in line else line.split()[0]).strip()
    reader = _READERS.get("scroll" if word.startswith("scroll") else word)
    return None if reader is None else reader(line)


def write_action(action: Action) -> str:
    """The same as text, without the backquotes."""
    given = action.arguments
    match action.name:
        case "click" | "hover":
            return f"{action.name} [{given['element']}]"
        case "type":
            return f"type [{given['element']}] [{given['text']}] [{int(given.get('enter', True))}]"
        case "press":
            return f"press [{given['keys']}]"
        case "scroll":
            return f"scroll [{given['direction']}]"
        case "tab_focus":
            return f"tab_focus [{given['index']}]"
        case "goto":
            return f"goto [{given['url']}]"
        case "answer":
            return f"stop [{given['text']}]"
    return action.name


def render_web(action: Action) -> AgentTurn:
    """An action as an agent without tool calls writes it."""
    return AgentTurn(text=f"The next action I will perform is ```{write_action(action)}```")


def named_element(element: str) -> tuple[str, str, int] | None:
    """Role, name and index of `link 'Cart'` (index 0) or `textbox '' 1` (the second of these).

    None where it is a number or nothing of the kind.
    """
    match = _NAMED.fullmatch(element.strip())
    if match is None:
        return None
    role, name, index = match.groups("0")
    try:
        return role, ast.literal_eval(name), int(index)
    except (SyntaxError, ValueError):  # an escape that is none, a line break, too many digits
        return None


def canonical(action: Action) -> Action:
    """The same action in one wording: named elements with an index, no argument left out."""
    given = dict(action.arguments)
    named = named_element(str(given.get("element", "")))
    if named is not None:
        role, name, index = named
        given["element"] = f"{role} {name!r} {index}"
    if action.name == "type":
        given.setdefault("enter", True)
    return Action(action.name, given)


def _one(name: str, argument: str, pattern: str) -> Callable[[str], Action | None]:
    compiled = re.compile(pattern)

    def read(line: str) -> Action | None:
        match = compiled.search(line)
        return None if match is None else Action(name, {argument: match.group(1)})

    return read


_TYPE = re.compile(rf"type ?\[{_ELEMENT}\] ?\[(.+)\] ?\[(\d+)\]")
_FOCUS = re.compile(r"tab_focus ?\[(\d{1,9})\]")
_STOP = re.compile(r"stop ?\[(.+)\]")


def _type(line: str) -> Action | None:
    if not line.endswith(("[0]", "[1]")):
        line += " [1]"
    match = _TYPE.search(line)
    if match is None:
        return None
    element, text, enter = match.groups()
    return Action("type", {"element": element, "text": text, "enter": enter == "1"})


def _focus(line: str) -> Action | None:
    match = _FOCUS.search(line)
    return None if match is None else Action("tab_focus", {"index": int(match.group(1))})


def _stop(line: str) -> Action:
    match = _STOP.search(line)
    return Action.answer(match.group(1) if match else "")


_READERS: dict[str, Callable[[str], Action | None]] = {
    "click": _one("click", "element", rf"click ?\[{_ELEMENT}\]"),
    "hover": _one("hover", "element", rf"hover ?\[{_ELEMENT}\]"),
    "type": _type,
    "press": _one("press", "keys", r"press ?\[(.+)\]"),
    "scroll": _one("scroll", "direction", r"scroll ?\[?(up|down)\]?"),
    "goto": _one("goto", "url", r"goto ?\[(.+)\]"),
    "tab_focus": _focus,
    "stop": _stop,
    **{
        name: (lambda line, name=name: Action(name))
        for name in ("new_tab", "close_tab", "go_back", "go_forward")
    },
}
