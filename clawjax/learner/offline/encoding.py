"""Replies that somebody wrote down, as the token ids that the model would have written them in.

Invariant: a prompt is encoded as serving would encode it, and prompt and response together as the
chat template writes the conversation, up to the token that ends the reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from clawjax.data.preferences import RowError
from clawjax.errors import WireError
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.records import Message

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
    tokenizer: ChatTokenizer, prompt: Sequence[Message], tools_json: str | None
) -> tuple[int, ...]:
    """What the policy reads before it answers.

    Raises:
        RowError: the chat template refuses the messages.
    """
    return tokenizer.encode_prompt(_render(tokenizer, prompt, tools_json, is_prompt=True))


def encode_reply(
    tokenizer: ChatTokenizer,
    prompt: Sequence[Message],
    reply: Message,
    tools_json: str | None = None,
) -> Encoded:
    """A prompt and a reply to it.

    Raises:
        RowError: the chat template refuses the messages, or writes a prompt otherwise once it has
            been answered, so that no reply to it can be cut out.
    """
    before = _render(tokenizer, prompt, tools_json, is_prompt=True)
    whole = _render(tokenizer, (*prompt, reply), tools_json, is_prompt=False)
    if not whole.startswith(before):
        raise RowError("the model's chat template rewrites its prompt once it has been answered")
    ids = tokenizer.encode_prompt(whole[len(before) :])
    end = next((place for place, i in enumerate(ids) if i in tokenizer.eos_ids), None)
    ended = (*ids, min(tokenizer.eos_ids)) if end is None else ids[: end + 1]
    return Encoded(tokenizer.encode_prompt(before), ended)


def _render(
    tokenizer: ChatTokenizer,
    messages: Sequence[Message],
    tools_json: str | None,
    *,
    is_prompt: bool,
) -> str:
    try:
        return tokenizer.render(messages, tools_json=tools_json, add_generation_prompt=is_prompt)
    except WireError as error:
        raise RowError("the model's chat template refuses its messages") from error
