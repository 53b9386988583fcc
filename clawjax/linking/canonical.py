"""The canonical form of a history: used to recognise it, never to build a prompt.

Clients rewrite what they send back: they strip whitespace, re-serialise arguments, rename calls,
drop thoughts, reorder results, decorate messages. Two histories that differ only so have the same
canonical form, and hashes of it form a chain, so that one pass yields the key of every beginning.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import NamedTuple, cast

from clawjax.linking.decorations import undecorated
from clawjax.records import Message, ToolCall

__all__ = [
    "Entry",
    "canonical_history",
    "canonical_reply",
    "exact_digest",
    "hash_chain",
    "pair_digest",
    "reply_digest",
    "scope_digest",
    "system_digest",
]

Call = tuple[str, str]
"""Name and sorted arguments; ids are left out."""

_CALLS_AS_TEXT = re.compile(r"(?:\A|\n)Calling tools:\n(\[.*\])\Z", re.DOTALL)
"""How smolagents writes calls at the end of an assistant's text."""
_LONGEST_CALLS_AS_TEXT = 65_536
"""Characters; reading a longer Python literal would keep other requests waiting."""


class Entry(NamedTuple):
    """One canonical message."""

    role: str
    """user, assistant or tool: instructions are hashed apart."""
    text: str
    calls: tuple[Call, ...]
    position: int
    """Of its first message, in what the client sent."""
    has_calls_in_text: bool = False
    last_position: int | None = None
    """Of the last message of a reply that came back as several."""

    @property
    def end(self) -> int:
        """Position of its last message."""
        return self.position if self.last_position is None else self.last_position

    @property
    def form(self) -> str:
        """What equal messages have in common."""
        return json.dumps([self.role, self.text, self.calls], ensure_ascii=False)

    @property
    def characters(self) -> int:
        """Of the text and the calls, without what they are written in."""
        return len(self.text) + sum(len(name) + len(arguments) for name, arguments in self.calls)


def canonical_history(messages: Sequence[Message]) -> tuple[Entry, ...]:
    """Everything that was said, without instructions and decorations.

    Consecutive messages of users are one, consecutive results of tools one and sorted; calls that
    follow an assistant's words as a message of their own belong to it.
    """
    said = [
        entry
        for position, message in enumerate(messages)
        if (entry := _entry(message, position)) is not None
    ]
    entries: list[Entry] = []
    for role, run in groupby(said, key=lambda entry: entry.role):
        entries += _MERGE[role](list(run))
    return tuple(entries)


def canonical_reply(reply: Message) -> Entry:
    """A reply of ours in the form in which it comes back."""
    return _assistant(reply, 0)


def scope_digest(scope: str, client: str) -> bytes:
    """Where every chain of a credential and client family begins."""
    return hashlib.sha256(f"{scope}\0{client}".encode()).digest()


def hash_chain(start: bytes, entries: Iterable[Entry]) -> tuple[bytes, ...]:
    """Keys of the beginnings of a history: entry i covers the first i messages, so 0 is `start`."""
    chain = [start]
    for entry in entries:
        chain.append(hashlib.sha256(chain[-1] + _bytes(entry.form)).digest())
    return tuple(chain)


def pair_digest(start: bytes, before: Entry | None, reply: Entry) -> bytes:
    """Key of a reply and the message before it, wherever in a history they stand."""
    pair = json.dumps([before and before.form, reply.form], ensure_ascii=False)
    return hashlib.sha256(start + _bytes(pair)).digest()


def reply_digest(start: bytes, reply: Entry) -> bytes:
    """Key of a reply, whatever stands before it."""
    return hashlib.sha256(start + json.dumps([reply.form]).encode()).digest()


def system_digest(messages: Sequence[Message]) -> bytes:
    """Key of the instructions before the conversation."""
    digest = hashlib.sha256()
    for message in messages:
        if message.role != "system":
            break
        digest.update(message.content.strip().encode() + b"\0")
    return digest.digest()


def exact_digest(messages: Sequence[Message]) -> bytes:
    """Key of messages whose prompts are the same but for whitespace at their ends and ids.

    Unlike the canonical form this keeps instructions, decorations and order.
    """
    digest = hashlib.sha256()
    for message in messages:
        calls = [_call(call) for call in message.tool_calls]
        form = json.dumps([message.role, message.content.strip(), calls], ensure_ascii=False)
        digest.update(_bytes(form) + b"\0")
    return digest.digest()


def _bytes(form: str) -> bytes:
    """Of halves of surrogate pairs, too: calls in text may have them as escapes."""
    return form.encode("utf-8", "surrogatepass")


def _entry(message: Message, position: int) -> Entry | None:
    """None where nothing is left of a message."""
    match message.role:
        case "user":
            text = undecorated(message.content).strip()
            return Entry("user", text, (), position) if text else None
        case "assistant":
            return _assistant(message, position)
        case "tool":
            return Entry("tool", message.content.strip(), (), position)
        case _:
            return None


def _assistant(message: Message, position: int) -> Entry:
    """Calls each once: some clients drop those that were made twice in parallel."""
    calls = tuple(dict.fromkeys(_call(call) for call in message.tool_calls))
    text = message.content.strip()
    if not calls and text.endswith("]") and (found := _CALLS_AS_TEXT.search(text)):
        calls = _calls_in_text(found[1])
        if calls:
            return Entry("assistant", text[: found.start()].strip(), calls, position, True)
    return Entry("assistant", text, calls, position)


def _call(call: ToolCall) -> Call:
    try:
        decoded: object = json.loads(call.arguments, parse_float=_number, parse_int=_number)
        return call.name, json.dumps(decoded, sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):
        return call.name, call.arguments.strip()


def _number(text: str) -> int | float | str:
    """As JavaScript has it, where each is a float: clients write `1` for `1.0` and for `1e0`.

    One that is too large for a float stays as it is written.
    """
    number = float(text)
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() else number


def _as_json(arguments: object) -> str | None:
    """A Python literal as JSON; None where it is more than that."""
    try:
        return json.dumps(arguments)
    except (ValueError, TypeError, RecursionError):
        return None


def _calls_in_text(text: str) -> tuple[Call, ...]:
    """The calls of a Python literal; none where it is not one."""
    if len(text) > _LONGEST_CALLS_AS_TEXT:
        return ()
    try:
        listed = cast("object", ast.literal_eval(text))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ()
    calls: list[Call] = []
    for entry in cast("list[object]", listed if isinstance(listed, list) else []):
        match entry:
            case {"function": {"name": str() as name, "arguments": arguments}}:
                written = arguments if isinstance(arguments, str) else _as_json(arguments)
                if written is None:
                    return ()
                calls.append(_call(ToolCall("", name, written)))
            case _:
                return ()
    return tuple(dict.fromkeys(calls))


def _merge_users(run: Sequence[Entry]) -> list[Entry]:
    return [run[0]._replace(text="\n".join(entry.text for entry in run))]


def _merge_results(run: Sequence[Entry]) -> list[Entry]:
    return [run[0]._replace(text=json.dumps(sorted(entry.text for entry in run)))]


def _merge_assistants(run: Sequence[Entry]) -> list[Entry]:
    merged = [run[0]]
    for entry in run[1:]:
        if entry.calls and not entry.text and not entry.has_calls_in_text:
            calls = tuple(dict.fromkeys((*merged[-1].calls, *entry.calls)))
            merged[-1] = merged[-1]._replace(calls=calls, last_position=entry.position)
        else:
            merged.append(entry)
    return merged


_MERGE: dict[str, Callable[[Sequence[Entry]], list[Entry]]] = {
    "user": _merge_users,
    "assistant": _merge_assistants,
    "tool": _merge_results,
}
