"""Replies that somebody wrote down, as the token ids that the model would have written them in.

Invariants: a prompt is the tokens that serving would have the model read; the reply is as the chat
template writes it, up to the token that ends it, or, where the template knows no tools, as serving
reads it from the model: calls are text in the model's format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from clawjax.data.preferences import RowError
from clawjax.errors import WireError
from clawjax.records import Message
from clawjax.rendering.prompts import Prompts, apart

__all__ = ["Encoded", "encode_prompt", "encode_reply"]


class Encoded(NamedTuple):
    """One exchange in tokens."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    """With the token that ends the reply."""

    @property
    def length(self) -> int:
        """Of both."""
        return len(self.prompt_ids) + len(self.response_ids)


def encode_prompt(
    prompts: Prompts, prompt: Sequence[Message], tools_json: str | None
) -> tuple[int, ...]:
    """What the policy reads before it answers.

    Raises:
        RowError: the chat template refuses the messages.
    """
    with _refusing():
        return prompts.ids(prompt, tools_json)


def encode_reply(
    prompts: Prompts,
    prompt: Sequence[Message],
    reply: Message,
    tools_json: str | None = None,
) -> Encoded:
    """A prompt and a reply to it.

    Raises:
        RowError: the chat template refuses the messages, writes a prompt otherwise once it has been
            answered, so that no reply to it can be cut out, or leaves out what the reply does.
    """
    before = encode_prompt(prompts, prompt, tools_json)
    with _refusing():
        said = _said(prompts, prompt, reply, tools_json)
    ids, eos_ids = prompts.tokenizer.encode_prompt(said), prompts.tokenizer.eos_ids
    end = next((place for place, i in enumerate(ids) if i in eos_ids), None)
    ended = (*ids, min(eos_ids)) if end is None else ids[: end + 1]
    if len(ended) == 1:
        raise RowError("nothing of its reply is left in what the model's chat template writes")
    return Encoded(before, ended)


def _said(
    prompts: Prompts, prompt: Sequence[Message], reply: Message, tools_json: str | None
) -> str:
    """The text behind a prompt; where the prompt has begun the reply, the rest of it.

    Raises:
        RowError: it cannot be cut out, or has no trace of the reply's calls.
        WireError: the chat template refuses the messages.
    """
    asked, begun = apart(prompt)
    known = "".join(message.content for message in begun)
    whole = replace(reply, content=known + reply.content) if begun else reply
    told = prompts.text((*asked, whole), tools_json, add_generation_prompt=False)
    if reply.tool_calls and told == _without_calls(prompts, (*asked, whole), tools_json):
        raise RowError("the model's chat template leaves out what its reply calls: name the tools")
    before = prompts.text(asked, tools_json)
    if begun:
        before += prompts.shown(known)
    if not told.startswith(before):
        raise RowError("the model's chat template rewrites its prompt once it has been answered")
    return told[len(before) :]


def _without_calls(prompts: Prompts, told: Sequence[Message], tools_json: str | None) -> str | None:
    """A conversation's text without what is called in its last message; None: it is refused."""
    *asked, reply = told
    silent = replace(reply, tool_calls=())
    try:
        return prompts.text((*asked, silent), tools_json, add_generation_prompt=False)
    except WireError:
        return None


@contextmanager
def _refusing() -> Iterator[None]:
    """A row that a template refuses is of no use."""
    try:
        yield
    except WireError as error:
        raise RowError("the model's chat template refuses its messages") from error
