"""What the user said *about the reply*, cut out of what came after it.

Pure text functions. A reaction is the new user text without the decorations that agents put
around it (timestamps, system reminders); a tool result is only ever read for errors that the
call itself caused. Invariant: a message is read in time that is in proportion to its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from clawjax.records import Message

__all__ = ["is_call_error", "reaction_text"]

MAX_CHARS = 4000
"""Of longer messages the start and the end are read: reactions stand there."""

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_REMINDER_END = "</system-reminder>"
_DECORATIONS = (
    re.compile(r"^\s*\[(?=[^\]\n]*\])[^\]\n]*\d{1,2}:\d{2}[^\]\n]*\]\s*"),
    re.compile(r"^\s*\[Queued user message[^\]\n]*\]\s*"),
    re.compile(
        r"<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>.*?(?:<<<END_OPENCLAW_INTERNAL_CONTEXT>>>|\Z)",
        re.DOTALL,
    ),
    re.compile(r"```.*?(?:```|\Z)", re.DOTALL),
)
_ERROR_OPENING = re.compile(
    r"\A[\s{\[(<\"']{0,4}(?:(?:\w*error|\w*exception|traceback|failed|failure|fatal|invalid|unknown"
    r"|missing|is_?error|command not found)\b|usage:|bash:|sh:|zsh:|status\W{1,4}error\b)",
    re.IGNORECASE,
)
_CALL_ERROR = re.compile(
    r"invalid (?:json|argument|parameter|tool|input)|missing required|unknown (?:tool|function)"
    r"|(?:tool|function|command) not found|no such (?:tool|function)|unexpected keyword argument"
    r"|(?:json|schema|argument|parameter)s? (?:validation|parse|parsing|decode) ?(?:error|failed)"
    r"|is a required property|SyntaxError|JSONDecodeError|unrecognized arguments"
    r"|invalid syntax|syntax error",
    re.IGNORECASE,
)


def reaction_text(messages: Iterable[Message]) -> str:
    """The user's new words, decorations and code blocks removed; empty where there are none."""
    words = "\n".join(message.content for message in messages if message.role == "user")
    closed, end, rest = words.rpartition(_REMINDER_END)  # what is never closed is not looked for
    words = _REMINDER.sub(" ", closed + end) + rest
    for decoration in _DECORATIONS:
        words = decoration.sub(" ", words)
    words = words.strip()
    if len(words) > MAX_CHARS:
        words = words[: MAX_CHARS // 2] + " ... " + words[-MAX_CHARS // 2 :]
    return words


def is_call_error(messages: Iterable[Message]) -> bool:
    """Whether a tool refused a call for the way it was made (its name, arguments or syntax).

    Everything else a tool may report - time-outs, missing files, empty results - says nothing
    certain about the turn that called it.
    """
    return any(
        message.role == "tool"
        and _ERROR_OPENING.search(message.content[:100]) is not None
        and _CALL_ERROR.search(message.content[:600]) is not None
        for message in messages
    )
