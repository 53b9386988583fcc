"""Main or side: whether a request is part of a conversation, or its client's own business.

Titles, summaries, heartbeats and memory flushes look like turns, and often go on from a history and
our reply with a made-up message of the user. Trained on, they would be praise or blame for nothing.
Patterns age: what none matches is main, and counts only once something has come after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from clawjax.config import LinkingConfig
from clawjax.linking.decorations import undecorated
from clawjax.records import Message, Origin, TurnKind

__all__ = ["Judged", "Profile", "SideRules"]


class Profile(NamedTuple):
    """What the requests of one conversation have in common."""

    system: bytes
    """Digest of the instructions."""
    tools: frozenset[str]
    is_stream: bool


class Judged(NamedTuple):
    """Main or side, and why."""

    kind: TurnKind
    reason: str


class SideRules:
    """The rules of one configuration. Immutable."""

    def __init__(self, config: LinkingConfig, default: TurnKind = TurnKind.MAIN) -> None:
        """Compile the patterns; `default` is what nothing says anything about."""
        self._systems = _compiled(config.side_systems)
        self._users = _compiled(config.side_users)
        self._models = frozenset(config.side_models)
        self._default = default

    def judge(
        self,
        origin: Origin,
        messages: Sequence[Message],
        profile: Profile,
        main: Profile | None,
    ) -> Judged:
        """Whether a request is main or side.

        Args:
            origin: what it says of itself.
            messages: its messages.
            profile: its own profile.
            main: that of the conversation it belongs to; None where that is not known.
        """
        if origin.said_kind is not None:
            return Judged(origin.said_kind, "the request says so")
        for reason in self._signs(origin, messages, profile, main):
            return Judged(TurnKind.SIDE, reason)
        return Judged(self._default, "nothing says otherwise")

    def _signs(
        self,
        origin: Origin,
        messages: Sequence[Message],
        profile: Profile,
        main: Profile | None,
    ) -> Iterator[str]:
        system = next((m.content for m in messages[:1] if m.role == "system"), None)
        if system is not None and (name := _matching(self._systems, system)) is not None:
            yield f"its instructions are those of: {name}"
        for text in _newest_user_texts(messages):
            if (name := _matching(self._users, text)) is not None:
                yield f"its message is that of: {name}"
        if main is not None and profile.system != main.system and profile.tools < main.tools:
            yield "other instructions and fewer tools than its conversation has"
        if origin.model is not None and origin.model in self._models:
            yield "asks for the small model"
        is_odd = main is not None and main.is_stream and not profile.is_stream
        if is_odd and origin.is_constrained:
            yield "wants a given format at once, from a client that streams"


def _compiled(patterns: Mapping[str, str]) -> dict[str, re.Pattern[str]]:
    return {name: re.compile(text, re.DOTALL) for name, text in patterns.items() if text}


def _matching(patterns: Mapping[str, re.Pattern[str]], text: str) -> str | None:
    stripped = text.lstrip()
    return next((name for name, pattern in patterns.items() if pattern.match(stripped)), None)


def _newest_user_texts(messages: Sequence[Message]) -> Iterator[str]:
    """The last messages of the user that follow each other, as sent and without decorations."""
    is_inside = False
    for message in reversed(messages):
        if message.role == "user":
            text = undecorated(message.content)
            if text.strip():
                is_inside = True
                yield text
                yield message.content
        elif message.role != "system" and is_inside:
            return
