"""How agents are told to act on a database, and how their replies are read.

The form and its regular expressions are those of v0.2 (`dbbench/__init__.py`): `Action: Operation`
with a fenced block, anything else needs `Final Answer:` on a line of its own. Pure.
"""

from __future__ import annotations

import json
import re

from clawjax.evals.harness.parsing import reply_parser
from clawjax.evals.harness.protocols import FormatError, InvalidAction, Parsed
from clawjax.evals.harness.tasks import ANSWER, Action, Brief, Tool
from clawjax.evals.harness.trajectory import AgentTurn

__all__ = ["COMMIT", "EXECUTE", "SYSTEM", "TEXT_RULES", "TOOLS", "parse", "read_text", "render"]

EXECUTE = "execute_sql"
COMMIT = "commit_final_answer"

SYSTEM = """\
You answer a question about a MySQL database, or change it as you are asked to, with SQL. First \
explain the problem and your plan; then, in every turn, either run one statement or commit the \
final answer. You are shown the raw response of MySQL. The answer has to be exactly the right one; \
where the task was to change the database, it may be anything."""

TEXT_RULES = """\
To run a statement, write exactly this, with one SQL statement on one line and no comments:
Action: Operation
```sql
SELECT * FROM table WHERE condition;
```
Only the first block is run. To commit the final answer, once you are sure of it, write:
Action: Answer
Final Answer: ["ANSWER1", "ANSWER2", ...]
A reply in any other form ends the task as failed."""

TOOLS = (
    Tool(
        EXECUTE,
        "Run one SQL statement and see the result.",
        {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "the statement"}},
            "required": ["query"],
            "additionalProperties": False,
        },
    ),
    Tool(
        COMMIT,
        "Commit the final answer, after everything else.",
        {
            "type": "object",
            "properties": {"answers": {"type": "array", "items": {"type": "string"}}},
            "required": ["answers"],
            "additionalProperties": False,
        },
    ),
)
"""Names and arguments are those of the function-call edition (`configs/tasks/dbbench.yaml`)."""

_ACTION = re.compile(r"Action: (.*?)\n")
_BLOCK = re.compile(r"```sql\n([\s\S]*?)\n```")
_FINAL = re.compile(r"\nFinal Answer:(.*)")


def read_text(text: str, brief: Brief) -> Parsed | FormatError:
    """A reply without tool calls."""
    action = _ACTION.search(text)
    if action is not None and action.group(1) == "Operation":
        block = _BLOCK.search(text)
        if block is None:
            return FormatError("`Action: Operation` needs a block that begins with ```sql.")
        return Parsed((Action(EXECUTE, {"query": block.group(1).strip().replace("\n", " ")}),))
    final = _FINAL.search(text)
    if final is None:
        return FormatError(
            "Write `Action: Operation` and a block, or a line `Final Answer: [...]`."
        )
    return Parsed((Action.answer(final.group(1)),))


_with_calls = reply_parser(read_text)


def parse(turn: AgentTurn, brief: Brief) -> Parsed | FormatError | InvalidAction:
    """Tool calls or text; `commit_final_answer` is the answer, as a JSON list."""
    found = _with_calls(turn, brief)
    if not isinstance(found, Parsed):
        return found
    return Parsed(tuple(_committed(action) for action in found.actions))


def render(action: Action) -> AgentTurn:
    """An action as text in the published form."""
    if action.name == ANSWER:
        return AgentTurn(f"Action: Answer\nFinal Answer:{action.arguments['text']}")
    query = str(action.arguments["query"]).replace("\n", " ")
    return AgentTurn(f"Action: Operation\n```sql\n{query}\n```")


def _committed(action: Action) -> Action:
    if action.name != COMMIT:
        return action
    return Action.answer(json.dumps(action.arguments["answers"], ensure_ascii=False))
