"""Prompts as token ids.

Invariant: the prompt of a turn that continues another is that turn's prompt ids, its response ids
and the encoded rest, in this order; sampled ids are never turned into text and back. Where the
chat template rules this out, and where it wants earlier thoughts removed, the whole history is
rendered afresh, which forks the conversation; what was sampled stays on its turn's record.
Nothing that a client sends becomes a control token of the template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from clawjax.errors import WireError
from clawjax.records import Message
from clawjax.rendering.prompts import Check, Prompts, Tokenizer, accept, apart
from clawjax.rendering.untold import moves_the_told

__all__ = ["Check", "Prior", "Renderer", "Tokenizer"]

_STAND_IN = "\u27e6reply\u00b7of\u00b7clawjax\u27e7"
"""Takes the place of a reply while its surroundings are rendered; survives every template."""

_PROBE = "zqthought"


class Prior(NamedTuple):
    """The turn that a prompt continues."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    tools_json: str | None
    reply_index: int
    """Position of its reply in the new messages."""


class Renderer:
    """Builds prompts with one tokenizer. Stateless, safe to use from threads."""

    def __init__(
        self, tokenizer: Tokenizer, *, tool_parser: str = "auto", reasoning_parser: str = "auto"
    ) -> None:
        """Find out how the template writes calls and thoughts, unless a configuration says."""
        self._tokenizer = tokenizer
        self._prompts = Prompts(
            tokenizer, tool_parser=tool_parser, reasoning_parser=reasoning_parser
        )
        self.formats = self._prompts.formats
        """How the model writes what is not content."""

        def render(messages: Sequence[Message], tools_json: str | None) -> str:
            return tokenizer.render(messages, tools_json=tools_json)

        self._moves_the_told = moves_the_told(render)

    def prompt(
        self,
        messages: Sequence[Message],
        tools_json: str | None,
        prior: Prior | None,
        check: Check = accept,
        scope: str | None = None,
    ) -> tuple[int, ...]:
        """The prompt, continuing `prior` exactly where there is one and the template allows it.

        A last message of the assistant's is not ended: the prompt stops behind its text. What
        another `scope` has sent is not the sooner encoded.

        Raises:
            WireError: the template rejects the messages, or they are nothing but begun replies; or
                as `check` does.
        """
        if prior is None:
            return self._prompts.ids(messages, tools_json, check, scope)
        conversation, begun = apart(messages)
        known = self._continued(conversation, tools_json, prior, check, scope)
        if known is None:
            return self._prompts.ids(messages, tools_json, check, scope)
        return self._prompts.going_on(known, begun, check, scope)

    def text(self, text: str, check: Check = accept, scope: str | None = None) -> tuple[int, ...]:
        """Ids of a text that is to be continued as it is; control tokens in it count."""
        check(self._tokenizer.fewest_tokens(text))
        return self._tokenizer.encode_text(text, scope)

    def fewest_tokens(self, messages: Sequence[Message]) -> int:
        """How many tokens what is said in messages has at least; a template may leave some out."""
        return self._tokenizer.fewest_tokens("".join(each.content for each in messages))

    def opens_reasoning(self, prompt_ids: Sequence[int]) -> bool:
        """Whether the prompt ends inside a thought that the template has begun."""
        return self._prompts.opens_reasoning(prompt_ids)

    def _continued(
        self,
        messages: Sequence[Message],
        tools_json: str | None,
        prior: Prior,
        check: Check,
        scope: str | None,
    ) -> tuple[int, ...] | None:
        """The prior turn's own tokens and the encoded rest; None where the template rules it out.

        Raises:
            WireError: as `check` does.
        """
        if self._drops_thought(messages, tools_json, prior):
            return None
        rest = self._text_after_reply(messages, tools_json, prior)
        if rest is None:
            return None
        known = prior.prompt_ids + prior.response_ids
        check(len(known) + self._tokenizer.fewest_tokens(rest))
        return known + self._tokenizer.encode_prompt(rest, scope)

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
            return _PROBE not in self._prompts.text(_replaced(messages, prior, content), tools_json)
        except WireError:  # rendering what was said may do
            return False

    def _text_after_reply(
        self, messages: Sequence[Message], tools_json: str | None, prior: Prior
    ) -> str | None:
        """The rendered text behind the reply, without an end token that was sampled already."""
        if tools_json != prior.tools_json:
            return None
        stood_in = _replaced(messages, prior, _STAND_IN)
        try:
            parts = self._prompts.text(stood_in, tools_json).split(_STAND_IN)
            if self._moves_the_told:
                alone = self._prompts.text(stood_in[: prior.reply_index + 1], tools_json)
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
