"""How agents are told to act on a machine, and how their replies are read.

Regular expressions and their order are those of v0.2 (`os_interaction/task.py`, `extract_action`):
the last `Act:` that is one counts, and what cannot be read is an invalid action, never a format
error. Names and arguments of the tools are those of the function-call edition. Pure.
"""

from __future__ import annotations

import re

from clawjax.evals.harness.parsing import reply_parser
from clawjax.evals.harness.protocols import FormatError, InvalidAction, Parsed
from clawjax.evals.harness.tasks import ANSWER, Action, Brief, Tool
from clawjax.evals.harness.trajectory import AgentTurn

__all__ = ["BASH", "FINISH", "SYSTEM", "TEXT_RULES", "TOOLS", "output_message", "parse", "render"]

BASH = "bash_action"
FINISH = "finish_action"
_ANSWER = "answer_action"

SYSTEM = """\
You operate a Linux machine: carry out what is asked for, or find the answer to the question. \
Think before every turn, then take exactly one of three actions: run bash code, finish, or answer. \
Long output is truncated, which you have to cope with yourself. Code must not wait for input."""

TEXT_RULES = """\
To run bash code, write:
Think: your thought
Act: bash
```bash
# your code
```
When the task is done, write:
Think: your thought
Act: finish
When you know the answer, write it within the parentheses:
Think: your thought
Act: answer(your answer)"""


def _tool(name: str, what: str, argument: str) -> Tool:
    properties = {argument: {"type": "string"}}
    schema = {"type": "object", "properties": properties, "required": [argument]}
    return Tool(name, what, schema | {"additionalProperties": False})


TOOLS = (
    _tool(BASH, "Run bash code on the machine.", "script"),
    _tool(FINISH, "Say that the task is done.", "thought"),
    _tool(_ANSWER, "Answer the question.", "answer"),
)

_ACT = re.compile(r"Act:\s*(.+)")
_BLOCK = re.compile(r"```bash\n(.*?)\n```", re.DOTALL)
_OUTPUT_CHARS = 800
_KEPT_CHARS = 780


def output_message(output: str) -> str:
    """What the agent is told of a command's output."""
    if not output:
        return "The output of the OS is empty."
    if len(output) > _OUTPUT_CHARS:
        output = f"{output[:_KEPT_CHARS]}\n[truncated because the output is too long]"
    return f"The output of the OS:\n\n{output}"


def _read_text(text: str, brief: Brief) -> Parsed | InvalidAction:
    for act in reversed(_ACT.findall(text)):
        lowered = act.lower()
        if lowered.startswith("bash"):
            return Parsed((Action(BASH, {"script": "\n\n".join(_BLOCK.findall(text))}),))
        if lowered.startswith("finish"):
            return Parsed((Action(FINISH, {"thought": ""}),))
        if lowered.startswith("answer"):
            begins, ends = act.find("(", 6), act.rfind(")")
            if begins != -1 and ends != -1:
                return Parsed((Action.answer(act[begins + 1 : ends]),))
    return InvalidAction("Write `Act: bash` and a block, `Act: finish`, or `Act: answer(...)`.")


_with_calls = reply_parser(_read_text)


def parse(turn: AgentTurn, brief: Brief) -> Parsed | FormatError | InvalidAction:
    """Tool calls or text; `answer_action` is the answer."""
    found = _with_calls(turn, brief)
    if not isinstance(found, Parsed):
        return found
    return Parsed(
        tuple(
            Action.answer(action.arguments["answer"]) if action.name == _ANSWER else action
            for action in found.actions
        )
    )


def render(action: Action) -> AgentTurn:
    """An action as text in the published form."""
    if action.name == BASH:
        return AgentTurn(f"Think: next.\n\nAct: bash\n\n```bash\n{action.arguments['script']}\n```")
    if action.name == ANSWER:
        return AgentTurn(f"Think: done.\n\nAct: answer({action.arguments['text']})")
    return AgentTurn("Think: done.\n\nAct: finish")
