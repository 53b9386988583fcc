"""What a model reads for a conversation: whoever serves, teaches or trains it writes it here.

Owns how a model whose template knows no tools is told of them, and how a reply that somebody has
begun is gone on from. Invariants: the same messages and tools are the same tokens for all of them;
nothing that somebody typed becomes a control token of the template.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from clawjax.config import GatewayConfig
from clawjax.errors import WireError
from clawjax.linking.reading import prefill_of
from clawjax.records import Message
from clawjax.rendering.formats.registry import formats_of
from clawjax.rendering.untold import as_told, knows_tools

__all__ = ["Check", "Prompts", "Tokenizer", "accept", "apart", "prompts_of"]

_FENCE = "\u27e6text\u00b7of\u00b7clawjax\u27e7"
"""Stands around a text while it is rendered; survives every template."""

_TAIL = 16
"""Tokens at the end of a prompt in which a thought may be begun."""

Check = Callable[[int], None]
"""Is told how many tokens a prompt has at least before they are found; raises to refuse it."""


class Tokenizer(Protocol):
    """The part of a chat tokenizer that prompts are made with."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a reply."""
        ...

    def encode_prompt(self, text: str, scope: str | None = None) -> tuple[int, ...]:
        """Ids of what `render` gave, or of its end; typed control tokens are ordinary text.

        What another `scope` has sent is not the sooner encoded.
        """
        ...

    def encode_text(self, text: str, scope: str | None = None) -> tuple[int, ...]:
        """Ids of a whole text that no template wrote, begun as the model's texts begin."""
        ...

    def fewest_tokens(self, text: str) -> int:
        """How many ids `encode_prompt` gives at least; found without encoding."""
        ...

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        """Text of ids."""
        ...

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools_json: str | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        """The chat template's text, for `encode_prompt`; `WireError` where it is rejected."""
        ...

    def piece(self, token_id: int) -> bytes:
        """The bytes a token stands for, which need not be whole characters."""
        ...

    def special_text(self, token_id: int) -> str:
        """How a special token is written."""
        ...


def accept(fewest: int) -> None:
    """Refuse no length."""


def apart(messages: Sequence[Message]) -> tuple[Sequence[Message], Sequence[Message]]:
    """A conversation, and the messages at its end in which the reply to it is begun.

    Raises:
        WireError: they are nothing but begun replies.
    """
    stop = len(messages)
    while stop and prefill_of(messages[stop - 1 : stop]) is not None:
        stop -= 1
    if messages and not stop:
        msg = "nothing comes before the begun reply: put a user's message before it"
        raise WireError(msg, code="invalid_messages", param="messages")
    return messages[:stop], messages[stop:]


class Prompts:
    """Writes what one model reads. Stateless, safe to use from threads."""

    def __init__(
        self, tokenizer: Tokenizer, *, tool_parser: str = "auto", reasoning_parser: str = "auto"
    ) -> None:
        """Find out how the template writes calls and thoughts, unless a configuration says."""
        self.tokenizer = tokenizer

        def render(messages: Sequence[Message], tools_json: str | None = None) -> str:
            return tokenizer.render(messages, tools_json=tools_json)

        self.formats = formats_of(
            render, tool_parser=tool_parser, reasoning_parser=reasoning_parser
        )
        """How the model writes what is not content."""
        self._knows_tools = knows_tools(render)

    def text(
        self,
        messages: Sequence[Message],
        tools_json: str | None,
        *,
        add_generation_prompt: bool = True,
    ) -> str:
        """The template's text, in which the model is told of tools one way or the other.

        Of calls and their results also where no tools are offered any more. Messages of the user's
        in a row, which results become, are told as one where the template takes no others.

        Raises:
            WireError: the template rejects the messages.
        """
        if not self._knows_tools:
            messages = as_told(messages, tools_json, self.formats.calls)

        def written(messages: Sequence[Message]) -> str:
            return self.tokenizer.render(
                messages, tools_json=tools_json, add_generation_prompt=add_generation_prompt
            )

        try:
            return written(messages)
        except WireError:
            if (joined := _in_turn(messages)) == list(messages):
                raise
            return written(joined)

    def ids(
        self,
        messages: Sequence[Message],
        tools_json: str | None,
        check: Check = accept,
        scope: str | None = None,
    ) -> tuple[int, ...]:
        """What the model reads before it answers, the whole of it rendered.

        A last message of the assistant's is not ended: the prompt stops behind its text. `scope`
        is whose it is, see `Tokenizer.encode_prompt`.

        Raises:
            WireError: the template rejects the messages, or they are nothing but begun replies; or
                as `check` does.
        """
        conversation, begun = apart(messages)
        whole = self.text(conversation, tools_json)
        check(self.tokenizer.fewest_tokens(whole))
        return self.going_on(self.tokenizer.encode_prompt(whole, scope), begun, check, scope)

    def going_on(
        self,
        before: tuple[int, ...],
        begun: Sequence[Message],
        check: Check = accept,
        scope: str | None = None,
    ) -> tuple[int, ...]:
        """The prompt `before`, and behind it the texts in which the reply is begun.

        Each is encoded apart, as a reply begins with a token of its own. Where the prompt has
        opened a thought, the message's own is put there and closed.

        Raises:
            WireError: the template does not show messages as they are; or as `check` does.
        """
        thought = self.formats.reasoning
        for message in begun:
            if thought is not None and self.opens_reasoning(before):
                before += self._typed(message.reasoning or "", len(before), check, scope)
                before += self.tokenizer.encode_prompt(f"\n{thought.end}\n\n")
            before += self._typed(message.content, len(before), check, scope)
        return before

    def opens_reasoning(self, prompt_ids: Sequence[int]) -> bool:
        """Whether the prompt ends inside a thought that the template has begun."""
        thought = self.formats.reasoning
        if thought is None:
            return False
        tail = self.tokenizer.decode(tuple(prompt_ids[-_TAIL:]), keep_special=True)
        return tail.rstrip().endswith(thought.begin)

    def shown(self, text: str) -> str:
        """What somebody wrote, as it is within a rendered conversation; control tokens are text.

        Raises:
            WireError: the template does not show messages as they are.
        """
        parts = self.tokenizer.render((Message("user", f"{_FENCE}{text}{_FENCE}"),)).split(_FENCE)
        if len(parts) != 3:
            msg = "the model's chat template cannot continue a reply: end messages with the user's"
            raise WireError(msg, code="invalid_messages", param="messages")
        return parts[1]

    def _typed(self, text: str, before: int, check: Check, scope: str | None) -> tuple[int, ...]:
        """Ids of what somebody wrote behind so many tokens."""
        shown = self.shown(text)
        check(before + self.tokenizer.fewest_tokens(shown))
        return self.tokenizer.encode_prompt(shown, scope) if shown else ()


def _in_turn(messages: Sequence[Message]) -> list[Message]:
    """The conversation with what the user said in a row as one message."""
    told: list[Message] = []
    for message in messages:
        if told and message.role == told[-1].role == "user":
            told[-1] = replace(told[-1], content=f"{told[-1].content}\n\n{message.content}")
        else:
            told.append(message)
    return told


def prompts_of(tokenizer: Tokenizer, gateway: GatewayConfig) -> Prompts:
    """What a model reads where it is served as configured."""
    return Prompts(
        tokenizer, tool_parser=gateway.tool_parser, reasoning_parser=gateway.reasoning_parser
    )
