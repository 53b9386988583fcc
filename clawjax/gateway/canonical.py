"""The canonical form of messages, used to recognise a history, never to build a prompt.

Clients rewrite what they send back: they strip whitespace, re-serialise arguments, rename calls,
drop reasoning. Two messages that differ only so have the same canonical form. Hashes form a chain,
so that one pass over a history yields the key of each of its beginnings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from clawjax.records import Message

__all__ = ["canonical", "hash_chain"]


def canonical(message: Message) -> str:
    """Role, stripped text, and calls by name and sorted arguments; ids and names are left out."""
    calls = [[call.name, _canonical_arguments(call.arguments)] for call in message.tool_calls]
    return json.dumps([message.role, message.content.strip(), calls], ensure_ascii=False)


def hash_chain(scope: str, messages: Sequence[Message]) -> tuple[bytes, ...]:
    """Keys of the beginnings of a history: entry i covers the first i + 1 messages."""
    digest = hashlib.sha256(scope.encode()).digest()
    chain: list[bytes] = []
    for message in messages:
        digest = hashlib.sha256(digest + canonical(message).encode()).digest()
        chain.append(digest)
    return tuple(chain)


def _canonical_arguments(arguments: str) -> str:
    try:
        decoded: object = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments.strip()
    return json.dumps(decoded, sort_keys=True, ensure_ascii=False)
