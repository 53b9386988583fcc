"""Prompts as token ids.

Invariant: the prompt of a turn that continues another is that turn's prompt ids, its response ids
and the encoded rest, in this order; sampled ids are never turned into text and back. Where the
chat template rules this out, and where it wants earlier thoughts removed, the whole history is
rendered afresh, which forks the conversation; what was sampled stays on its turn's record.
Nothing that a client sends becomes a control token of the template.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from clawjax.errors import WireError
from clawjax.gateway.formats.reasoning import reasoning_format
from clawjax.gateway.formats.registry import call_format, takes_one_call
from clawjax.gateway.parse import Formats
from clawjax.gateway.untold import knows_tools, moves_the_told, with_tools
from clawjax.linking.reading import prefill_of
from clawjax.records import Message

__all__ = ["Check", "Prior", "Renderer", "Tokenizer"]

_STAND_IN = "\u27e6reply\u00b7of\u00b7clawjax\u27e7"
"""Takes the place of a reply while its surroundings are rendered; survives every template."""

_PROBE = "zqthought"
_TAIL = 16
"""Tokens at the end of a prompt in which a thought may be begun."""

Check = Callable[[int], None]
"""Is told how many tokens a prompt has at least before they are found; raises to refuse it."""


class Tokenizer(Protocol):
    """The part of a chat tokenizer that the gateway uses."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a reply."""
        ...

    def encode_prompt(self, text: str) -> tuple[int, ...]:
        """Ids of what `render` gave, or of its end; typed control tokens are ordinary text."""
        ...

    def encode_text(self, text: str) -> tuple[int, ...]:
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


class Prior(NamedTuple):
    """The turn that a prompt continues."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    tools_json: str | None
    reply_index: int
    """Position of its reply in the new messages."""


def _accept(fewest: int) -> None:
    """Refuse no length."""


class Renderer:
    """Builds prompts with one tokenizer. Stateless, safe to use from threads."""

    def __init__(
        self, tokenizer: Tokenizer, *, tool_parser: str = "auto", reasoning_parser: str = "auto"
    ) -> None:
        """Find out how the template writes calls and thoughts, unless a configuration says."""
        self._tokenizer = tokenizer

        def render(messages: Sequence[Message], tools_json: str | None = None) -> str:
            return tokenizer.render(messages, tools_json=tools_json)

        self.formats = Formats(
            calls=call_format(tool_parser, render),
            reasoning=reasoning_format(reasoning_parser, render),
            has_one_call=takes_one_call(render),
        )
        """How the model writes what is not content."""
        self._knows_tools = knows_tools(render)
        self._moves_the_told = moves_the_told(render)

    def prompt(
        self,
        messages: Sequence[Message],
        tools_json: str | None,
        prior: Prior | None,
        check: Check = _accept,
    ) -> tuple[int, ...]:
        """The prompt, continuing `prior` exactly where there is one and the template allows it.

        A last message of the assistant's is not ended: the prompt stops behind its text.

        Raises:
            WireError: the template rejects the messages, or they are nothing but begun replies; or
                as `check` does.
        """
        if prefill_of(messages) is not None:
            if len(messages) == 1:
                msg = "nothing comes before the begun reply: put a user's message before it"
                raise WireError(msg, code="invalid_messages", param="messages")
            before = self.prompt(messages[:-1], tools_json, prior, check)
            return before + self._begun(
                messages[-1], before, lambda fewest: check(len(before) + fewest)
            )
        if prior is not None and not self._drops_thought(messages, tools_json, prior):
            rest = self._text_after_reply(messages, tools_json, prior)
            if rest is not None:
                known = prior.prompt_ids + prior.response_ids
                check(len(known) + self._tokenizer.fewest_tokens(rest))
                return known + self._tokenizer.encode_prompt(rest)
        whole = self._render(messages, tools_json)
        check(self._tokenizer.fewest_tokens(whole))
        return self._tokenizer.encode_prompt(whole)

    def text(self, text: str, check: Check = _accept) -> tuple[int, ...]:
        """Ids of a text that is to be continued as it is; control tokens in it count."""
        check(self._tokenizer.fewest_tokens(text))
        return self._tokenizer.encode_text(text)

    def fewest_tokens(self, messages: Sequence[Message]) -> int:
        """How many tokens what is said in messages has at least; a template may leave some out."""
        return self._tokenizer.fewest_tokens("".join(each.content for each in messages))

    def opens_reasoning(self, prompt_ids: Sequence[int]) -> bool:
        """Whether the prompt ends inside a thought that the template has begun."""
        thought = self.formats.reasoning
        if thought is None:
            return False
        tail = self._tokenizer.decode(tuple(prompt_ids[-_TAIL:]), keep_special=True)
        return tail.rstrip().endswith(thought.begin)

    def _render(self, messages: Sequence[Message], tools_json: str | None) -> str:
        """The template's text, in which the model is told of tools one way or the other."""
        if tools_json is not None and not self._knows_tools:
            messages = with_tools(messages, tools_json, self.formats.calls)
        return self._tokenizer.render(messages, tools_json=tools_json)

    def _drops_thought(
        self, messages: Sequence[Message], tools_json: str | None, prior: Prior
    ) -> bool:
        """Whether the reply holds a thought that the template removes from what came before."""
        thought = self.formats.reasoning
        if thought is None:
            return False
        said = self._tokenizer.decode(prior.response_ids, keep_special=True)
        if thought.end not in said:
            return False
        content = f"{thought.begin}\n{_PROBE}\n{thought.end}\n\nyes"
        try:
            return _PROBE not in self._render(_replaced(messages, prior, content), tools_json)
        except WireError:  # rendering what was said may do
            return False

    def _begun(self, last: Message, before: Sequence[int], check: Check) -> tuple[int, ...]:
        """The last message's text as the beginning of a reply, behind the prompt `before`.

        Encoded apart, as a reply begins with a token of its own. Where the prompt has opened a
        thought, the message's own is put there and closed.
        """
        thought = self.formats.reasoning
        if thought is None or not self.opens_reasoning(before):
            return self._typed(last.content, check)
        closing = self._tokenizer.encode_prompt(f"\n{thought.end}\n\n")
        typed = self._typed(last.reasoning or "", check)
        return typed + closing + self._typed(last.content, check)

    def _typed(self, text: str, check: Check) -> tuple[int, ...]:
        """Ids of what somebody wrote; control tokens in it are text.

        Raises:
            WireError: the template does not show messages as they are; or as `check` does.
        """
        fenced = Message("user", f"{_STAND_IN}{text}{_STAND_IN}")
        parts = self._tokenizer.render((fenced,)).split(_STAND_IN)
        if len(parts) != 3:
            msg = "the model's chat template cannot continue a reply: end messages with the user's"
            raise WireError(msg, code="invalid_messages", param="messages")
        check(self._tokenizer.fewest_tokens(parts[1]))
        return self._tokenizer.encode_prompt(parts[1]) if parts[1] else ()

    def _text_after_reply(
        self, messages: Sequence[Message], tools_json: str | None, prior: Prior
    ) -> str | None:
        """The rendered text behind the reply, without an end token that was sampled already."""
        if tools_json != prior.tools_json:
            return None
        stood_in = _replaced(messages, prior, _STAND_IN)
        try:
            parts = self._render(stood_in, tools_json).split(_STAND_IN)
            if self._moves_the_told:
                alone = self._render(stood_in[: prior.reply_index + 1], tools_json)
                if alone.partition(_STAND_IN)[0] != parts[0]:
                    return None
        except WireError:  # e.g. a tool's result without the call; the full history may still do
            return None
        if len(parts) != 2:
            return None
        last = prior.response_ids[-1] if prior.response_ids else None
        if last is not None and last in self._tokenizer.eos_ids:
            return parts[1].removeprefix(self._tokenizer.special_text(last))
        return parts[1]


def _replaced(messages: Sequence[Message], prior: Prior, content: str) -> tuple[Message, ...]:
    """The history with something else in the place of the reply."""
    at = prior.reply_index
    reply = replace(messages[at], content=content, tool_calls=(), reasoning=None)
    return (*messages[:at], reply, *messages[at + 1 :])
