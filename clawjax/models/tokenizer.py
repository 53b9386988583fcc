"""Text to token ids and back, and conversations to prompts. Imports no jax.

Ids are turned into text byte by byte, so streamed pieces joined are exactly what decoding the
whole gives: `"".join(push(id) for id in ids) + flush() == decode(ids)`.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import tokenizers

from clawjax.errors import ConfigError
from clawjax.models.guard import Guard
from clawjax.models.lengths import Lengths
from clawjax.models.segments import SegmentEncoder, encoded
from clawjax.models.template import ChatTemplate
from clawjax.records import Message

__all__ = ["ChatTokenizer", "Detokenizer"]

_SPOKEN = frozenset({
    "<tool_call>", "</tool_call>", "<|python_tag|>", "<|python_start|>", "<|python_end|>",
    "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "<think>", "</think>", "[THINK]", "[/THINK]",
    "<seed:think>", "</seed:think>", "<|START_THINKING|>", "<|END_THINKING|>",
})  # fmt: skip
"""Markup of calls and thoughts: part of what a model says, also where its vocabulary has them as
special tokens."""

_MARKUP = re.compile("<([|\uff5c]).+\\1>")
"""`<|…|>`, also with full-width bars."""


class ChatTokenizer:
    """A model's vocabulary and chat template. Immutable; safe to share between threads."""

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        template: ChatTemplate,
        *,
        eos_ids: frozenset[int],
    ) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: byte-level BPE, or BPE with byte fallback.
            template: how a conversation is written.
            eos_ids: tokens that end a reply; at least one.

        Raises:
            ConfigError: the tokenizer's decoder is of an unknown kind, or nothing ends a reply.
        """
        if not eos_ids:
            msg = "the model names no end-of-sequence token: set eos_token_id beside its weights"
            raise ConfigError(msg)
        self._tokenizer = tokenizer
        self._template = template
        self._added = dict(tokenizer.get_added_tokens_decoder())
        self._alphabet = _Alphabet(tokenizer)
        markup = frozenset(i for i, token in self._added.items() if token.special)
        self._control = markup | eos_ids | _role_tokens(self._added, template)
        self._special = frozenset(i for i in markup if self._added[i].content not in _SPOKEN)
        self._guard = Guard(self._added[i].content for i in self._control if i in self._added)
        self._segments = SegmentEncoder(tokenizer, self._control)
        self._pieces: dict[int, bytes] = {}
        self.vocab_size: int = tokenizer.get_vocab_size(with_added_tokens=True)
        self.eos_ids = eos_ids

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of `text`. Special tokens written in it become their ids; nothing is added."""
        return tuple(encoded(self._tokenizer, text).ids)

    def fewest_tokens(self, text: str) -> int:
        """How many ids `encode_prompt` gives at least, without encoding; takes milliseconds.

        The first text takes as long as it takes to look at each token of the vocabulary.
        """
        written = self._guard.unmark(text) if self._guard.has_marks(text) else text
        return self._lengths.fewest_tokens(written)

    def encode_prompt(self, text: str, scope: str | None = None) -> tuple[int, ...]:
        """Ids of what `render` gave, or of its end: only the template's own control tokens count.

        Ordinary text is encoded as `encode` does it; control tokens that somebody typed are text.
        Long parts are kept for the next text of the same `scope`.
        """
        if not self._guard.has_marks(text):
            return self._segments.encode(text, scope)
        found = encoded(self._tokenizer, text)
        ids: list[int] = []
        start = 0
        for token_id, (begin, end) in zip(found.ids, found.offsets, strict=True):
            if token_id in self._control:
                ids += (*self._encode_words(text[start:begin], is_first=start == 0), token_id)
                start = end
        return (*ids, *self._encode_words(text[start:], is_first=start == 0))

    def encode_text(self, text: str, scope: str | None = None) -> tuple[int, ...]:
        """Ids of a whole text that no template wrote: behind what the vocabulary begins texts with.

        That is BOS for Llama and Gemma and nothing for Qwen; it is not put before itself.
        """
        ids = self.encode_prompt(text, scope)
        opening = self._opening
        return ids if ids[: len(opening)] == opening else opening + ids

    def decode(
        self, ids: Sequence[int], *, keep_special: bool = False, goes_on: bool = False
    ) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD, unknown ids nothing."""
        detokenizer = Detokenizer(self, keep_special=keep_special, goes_on=goes_on)
        return "".join([detokenizer.push(token_id) for token_id in ids]) + detokenizer.flush()

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools_json: str | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        """The conversation by the model's chat template, as `encode_prompt` takes it.

        Typed control tokens are marked, which is the only difference to the template's text.

        Raises:
            WireError: the template rejects the messages.
        """
        return self._template.render(
            messages,
            tools_json=tools_json,
            add_generation_prompt=add_generation_prompt,
            mark=self._guard.mark,
        )

    def special_text(self, token_id: int) -> str:
        """How a token is written, special or not; empty for an unknown id."""
        return self.piece(token_id).decode("utf-8", errors="replace")

    def is_special(self, token_id: int) -> bool:
        """Whether a token is markup rather than text; that of calls and thoughts is text."""
        return token_id in self._special

    def detokenizer(self, *, goes_on: bool = False) -> Detokenizer:
        """A fresh incremental decoder."""
        return Detokenizer(self, goes_on=goes_on)

    @property
    def strips_first_space(self) -> bool:
        """Whether a text's first space belongs to the encoding, not to the text."""
        return self._alphabet.strips_first_space

    def piece(self, token_id: int) -> bytes:
        """The bytes a token stands for."""
        known = self._pieces.get(token_id)
        if known is None:
            known = self._pieces[token_id] = self._piece(token_id)
        return known

    def _encode_words(self, marked: str, *, is_first: bool) -> list[int]:
        """Ids of people's words, in which nothing is a control token."""
        words = self._words if is_first else self._later_words
        return encoded(words, self._guard.unmark(marked)).ids

    @cached_property
    def _lengths(self) -> Lengths:
        return Lengths(self._tokenizer, range(self.vocab_size), self.piece)

    @cached_property
    def _opening(self) -> tuple[int, ...]:
        found = self._tokenizer.encode("a", add_special_tokens=True)
        added = found.special_tokens_mask
        return tuple(found.ids[: added.index(0)]) if 0 in added else ()

    @cached_property
    def _words(self) -> tokenizers.Tokenizer:
        """The vocabulary without its control tokens; a copy, as the setting is not per call."""
        state = json.loads(self._tokenizer.to_str())
        for added in state["added_tokens"]:
            added["special"] = added["id"] in self._control
        return _of_words(state)

    @cached_property
    def _later_words(self) -> tokenizers.Tokenizer:
        """The same for what is not a text's beginning, which alone may get a space of its own."""
        state = json.loads(self._words.to_str())
        return _of_words(state) if _prepend_never(state.get("pre_tokenizer")) else self._words

    def _piece(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self._added[token_id].content.encode()
        token = self._tokenizer.id_to_token(token_id)
        return b"" if token is None else self._alphabet.bytes_of(token)

    def save(self, directory: Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and the chat templates."""
        self._tokenizer.save(str(directory / "tokenizer.json"))
        (directory / "chat_template.jinja").write_text(self._template.source, encoding="utf-8")
        if self._template.with_tools is not None:
            more = directory / "additional_chat_templates"
            more.mkdir(exist_ok=True)
            (more / "tool_use.jinja").write_text(self._template.with_tools, encoding="utf-8")
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            **self._template.special_tokens,
        }
        path = directory / "tokenizer_config.json"
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _role_tokens(
    added: Mapping[int, tokenizers.AddedToken], template: ChatTemplate
) -> frozenset[int]:
    """Tokens that the template writes between messages, whether or not they are called special.

    Those of DeepSeek's models are not: `User` in full-width bars.
    """
    written = template.source + (template.with_tools or "")
    return frozenset(
        token_id
        for token_id, token in added.items()
        if _MARKUP.fullmatch(token.content) and token.content in written
    )


def _of_words(state: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """The tokenizer of a description, to which special tokens are text."""
    words = tokenizers.Tokenizer.from_str(json.dumps(state))
    words.encode_special_tokens = True
    return words


def _prepend_never(pre_tokenizer: Any) -> bool:
    """Take the space before a text's first word out of a description; whether there was one."""
    if not isinstance(pre_tokenizer, dict):
        return False
    parts = [*map(_prepend_never, pre_tokenizer.get("pretokenizers", ()))]
    is_first = pre_tokenizer.get("prepend_scheme") == "first"
    if is_first:
        pre_tokenizer["prepend_scheme"] = "never"
    return is_first or any(parts)


class Detokenizer:
    """Turns one reply's ids into text as they come."""

    def __init__(
        self, tokenizer: ChatTokenizer, *, keep_special: bool = False, goes_on: bool = False
    ) -> None:
        """Start a text, or go on from one, where a first space is the text's own."""
        self._tokenizer = tokenizer
        self._keep_special = keep_special
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._strip = tokenizer.strips_first_space and not goes_on

    def push(self, token_id: int) -> str:
        """The text that is complete now: whole characters only, no special tokens."""
        if self._tokenizer.is_special(token_id) and not self._keep_special:
            return ""
        piece = self._tokenizer.piece(token_id)
        if self._strip and piece:
            self._strip = False
            piece = piece.removeprefix(b" ")
        return self._decoder.decode(piece)

    def flush(self) -> str:
        """What is left of an unfinished character, as U+FFFD; ends the text."""
        return self._decoder.decode(b"", final=True)


class _Alphabet:
    """How a tokenizer's token strings spell bytes."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        decoder = _decoder_config(tokenizer)
        steps = [step["type"] for step in decoder.get("decoders", [decoder])]
        self._is_byte_level = "ByteLevel" in steps
        self.strips_first_space = "Strip" in steps
        if not self._is_byte_level and "ByteFallback" not in steps:
            msg = (
                f"tokenizer decoder {'+'.join(steps)!r} is not supported: "
                "use a model with a byte-level or byte-fallback BPE tokenizer"
            )
            raise ConfigError(msg)

    def bytes_of(self, token: str) -> bytes:
        if self._is_byte_level:
            table = _byte_level_table()
            known = [table.get(character) for character in token]
            return token.encode() if None in known else bytes(b for b in known if b is not None)
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)])
        return token.replace("\u2581", " ").encode()


def _decoder_config(tokenizer: tokenizers.Tokenizer) -> dict[str, Any]:
    if tokenizer.decoder is None:
        return {"type": "none"}
    state: Mapping[str, Any] = json.loads(tokenizer.decoder.__getstate__())
    return dict(state)


@cache
def _byte_level_table() -> dict[str, int]:
    """GPT-2's printable stand-ins: printable Latin-1 is itself, the rest starts at U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + index): byte for index, byte in enumerate(hidden)}
