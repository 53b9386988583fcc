"""Knobs of linking: how side requests of clients are recognised."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from clawjax.config.checks import at_least, require

__all__ = ["LinkingConfig"]


def _side_systems() -> dict[str, str]:
    return {
        "opencode title": r"You are a title generator",
        "hermes title": r"Generate a short, descriptive title",
        "openclaw or pi compaction": r"You are a context summarization assistant",
        "aider commit message": r"You are an expert software engineer that generates concise, "
        r"one-line Git commit",
        "qwen memory extraction": r"You are now acting as the managed memory extraction subagent",
    }


def _side_users() -> dict[str, str]:
    return {
        "openclaw heartbeat": r"Follow the heartbeat monitor scratch",
        "openclaw heartbeat poll": r"\[OpenClaw heartbeat poll\]",
        "openclaw heartbeat file": r"Read HEARTBEAT\.md",
        "openclaw memory flush": r"Pre-compaction memory flush",
        "nanobot checkpoint": r"Create a compact replacement checkpoint",
        "qwen memory extraction": r"Managed memory directory:",
        "opencode title": r"Generate a title for this conversation",
        "open webui task": r"### Task:",
        "claude code compaction": r"(?:.*\n)?CRITICAL: Respond with TEXT ONLY",
        "compaction": r"<conversation>",
    }


@dataclass
class LinkingConfig:
    """Which requests are side requests: not part of the conversation, never trained on.

    Names are free and are given as the reason; an empty pattern switches an entry off.
    """

    side_systems: dict[str, str] = field(default_factory=_side_systems)
    """Regular expressions for the beginning of the first instructions (`system`)."""
    side_users: dict[str, str] = field(default_factory=_side_users)
    """Regular expressions for the beginning of one of the newest messages of the user, without
    what the client added to it; `.` matches newlines."""
    side_models: list[str] = field(default_factory=list)
    """Aliases that clients use for their small model."""
    anchor_age_s: float = 86_400.0
    """A history that was rewritten is recognised by a reply no older than this."""

    def __post_init__(self) -> None:
        """Reject patterns that cannot be compiled."""
        at_least("gateway.linking.anchor_age_s", self.anchor_age_s, 0)
        for table in ("side_systems", "side_users"):
            patterns: dict[str, str] = getattr(self, table)
            for name, pattern in patterns.items():
                try:
                    re.compile(pattern)
                except re.error as error:
                    require(
                        False,
                        f"gateway.linking.{table}[{name!r}]={pattern!r} is no regular expression "
                        f"({error}): escape what is meant literally, e.g. \\[",
                    )
