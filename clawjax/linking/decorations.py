"""What clients put around people's words, and take away again from the history they send next.

One small rule per habit, found in recordings of real clients. A rule gives back the text without
the decoration; a text that is nothing else becomes empty. Invariant: every rule takes time in
proportion to the text, whatever a client sends; requests wait for one another here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["SUMMARY_MARKERS", "is_notice", "is_placeholder", "is_summary", "undecorated"]

SUMMARY_MARKERS = (
    "The conversation history before this point was compacted into the following summary",
    "This session is being continued from a previous conversation",
)
"""A history whose first message contains one was compacted (OpenClaw, pi; Claude Code)."""

_PLACEHOLDERS = frozenset(
    {
        "",
        "No response requested.",
        "[Assistant reply unavailable due to model error.]",
    }
)
"""Assistant messages that clients write themselves where a reply was lost or not asked for."""

_NOTICE = "[System: "
_HEARTBEAT = "Follow the heartbeat monitor scratch context"
_HEARTBEAT_IN_HISTORY = "[OpenClaw heartbeat poll]"


def _between(opening: str, closing: str) -> re.Pattern[str]:
    """Both marks and what is between them; group 1 is what is never closed, to be put back.

    Without it, the text would be read to its end once for each opening that is not closed.
    """
    return re.compile(f"{opening}.*?{closing}\\s*|({opening}.*)", re.DOTALL)


_INTERNAL_CONTEXT = _between(
    "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>", "<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
)
_RUNTIME_LINE = re.compile(r"(?:^|(?<!\n)\n+)Runtime: agent=[^\n]*\| session=[^\n]*")
_TIMESTAMP = re.compile(
    r"\[(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)? [^\]\n]{1,16}\] ?"
)
_QUEUED = re.compile(
    r"\[Queued user message from a previous active turn;[^\]\n]*\]\n(.*?)"
    r"\n\nContinue the current task from the existing transcript,[^\n]*",
    re.DOTALL,
)
_REMINDER = _between("<system-reminder>", "</system-reminder>")
_LOCAL_COMMANDS = tuple(
    _between(f"<{name}>", f"</{name}>")
    for name in (
        *("local-command-caveat", "local-command-stdout", "local-command-stderr"),
        *("command-name", "command-message", "command-args"),
    )
)
_AIDER_REMINDER = re.compile(
    r"\n\n(?:# \*SEARCH/REPLACE block\* Rules:|To suggest changes to a file you MUST ).*", re.DOTALL
)


def undecorated(text: str) -> str:
    """A user's message without what its client added; the same text where it added nothing."""
    for rule in _RULES:
        text = rule(text)
    return text


def is_placeholder(text: str) -> bool:
    """Whether an assistant's message, stripped, is one that clients write themselves."""
    return text in _PLACEHOLDERS


def is_notice(text: str) -> bool:
    """Whether a user's message is its client's own, about a reply that broke off (Hermes)."""
    return text.startswith(_NOTICE)


def is_summary(text: str) -> bool:
    """Whether a message holds the summary of a compacted history."""
    return any(marker in text for marker in SUMMARY_MARKERS)


def _internal_context(text: str) -> str:
    """OpenClaw: appended to every request as a message of its own, gone from the next."""
    return _INTERNAL_CONTEXT.sub(r"\1", text) if "<<<BEGIN_OPENCLAW" in text else text


def _runtime_line(text: str) -> str:
    """OpenClaw: at the end of the first message; names session and model, which change."""
    return _RUNTIME_LINE.sub("", text) if "Runtime: agent=" in text else text


def _timestamp(text: str) -> str:
    """OpenClaw: when a message was received."""
    return text[found.end() :] if (found := _TIMESTAMP.match(text)) else text


def _queued(text: str) -> str:
    """OpenClaw: how a retry wraps the message that was not answered."""
    found = _QUEUED.match(text)
    return found[1] + text[found.end() :] if found else text


def _heartbeat(text: str) -> str:
    """OpenClaw: the prompt of a heartbeat stands in the history as a short line."""
    return _HEARTBEAT_IN_HISTORY if text.startswith(_HEARTBEAT) else text


def _reminder(text: str) -> str:
    """Claude Code, Qwen Code: added to messages, changed and removed later."""
    return _REMINDER.sub(r"\1", text) if "<system-reminder>" in text else text


def _local_command(text: str) -> str:
    """Claude Code: what a command typed into the client did; nobody's words."""
    if text.lstrip().startswith("<"):
        for command in _LOCAL_COMMANDS:
            text = command.sub(r"\1", text)
    return text


def _aider_reminder(text: str) -> str:
    """Aider: format rules behind the newest message only."""
    return _AIDER_REMINDER.sub("", text) if "\n\n" in text else text


_RULES: tuple[Callable[[str], str], ...] = (
    _internal_context,
    _reminder,
    _local_command,
    _runtime_line,
    _timestamp,
    _queued,
    _heartbeat,
    _aider_reminder,
)
"""In this order: what is behind a decoration may be decorated itself."""
