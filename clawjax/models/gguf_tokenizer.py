"""The tokenizer within a GGUF file."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer
from tokenizers.processors import TemplateProcessing

from clawjax.errors import ConfigError
from clawjax.models.bpe import byte_level_bpe
from clawjax.models.gguf_file import GgufFile
from clawjax.models.template import ChatTemplate
from clawjax.models.tokenizer import ChatTokenizer

__all__ = ["tokenizer_from_gguf"]

_CONTROL, _USER_DEFINED = 3, 4
"""Values of `tokenizer.ggml.token_type`."""

_BEGIN_WITH_BOS = frozenset({"llama3", "llama-v3", "llama-bpe"})
"""Values of `tokenizer.ggml.pre` whose texts begin with BOS where the file does not say, as
llama.cpp has it."""

_END_TOKENS = frozenset(
    {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"}
)
"""Control tokens that end a reply wherever they exist, whatever else the file names. (Llama 3.1
ends calls by `<|eom_id|>`.)"""


def tokenizer_from_gguf(file: GgufFile) -> ChatTokenizer:
    """Build the tokenizer and chat template that a file carries.

    Raises:
        ConfigError: a kind of tokenizer that is not byte-level BPE, or a key is missing.
    """
    kind = _require(file, "tokenizer.ggml.model")
    if kind != "gpt2":
        msg = (
            f"{file.path}: tokenizer.ggml.model={kind!r} is not supported, only 'gpt2' "
            "(byte-level BPE): load the model's Hugging Face directory instead"
        )
        raise ConfigError(msg)
    tokens = _require(file, "tokenizer.ggml.tokens")
    bpe = byte_level_bpe(
        tokens,
        [tuple(merge.split(" ", 1)) for merge in _require(file, "tokenizer.ggml.merges")],
        pre=file.metadata.get("tokenizer.ggml.pre", "default"),
        added=_added_tokens(file, tokens),
    )
    _begin_texts(bpe, file, tokens)
    template = ChatTemplate(
        _require(file, "tokenizer.chat_template"),
        _named(file, tokens),
        with_tools=file.metadata.get("tokenizer.chat_template.tool_use"),
    )
    return ChatTokenizer(bpe, template, eos_ids=_eos_ids(file, tokens))


def _require(file: GgufFile, key: str) -> Any:
    value = file.metadata.get(key)
    if value is None:
        msg = f"{file.path} lacks the key {key}: use an instruct model's complete GGUF file"
        raise ConfigError(msg)
    return value


def _added_tokens(file: GgufFile, tokens: list[str]) -> list[AddedToken]:
    types = _require(file, "tokenizer.ggml.token_type")
    return [
        AddedToken(token, special=kind == _CONTROL, normalized=False)
        for token, kind in zip(tokens, types, strict=True)
        if kind in (_CONTROL, _USER_DEFINED)
    ]


def _named(file: GgufFile, tokens: list[str]) -> dict[str, str]:
    """The tokens that a template may mention by their role."""
    roles = {"bos": "bos_token", "eos": "eos_token", "padding": "pad_token"}
    ids = {
        name: file.metadata.get(f"tokenizer.ggml.{role}_token_id") for role, name in roles.items()
    }
    return {name: tokens[index] for name, index in ids.items() if index is not None}


def _begin_texts(bpe: Tokenizer, file: GgufFile, tokens: list[str]) -> None:
    """Have whole texts begin with BOS where the file, or else its pre-tokenizer, says so."""
    bos = file.metadata.get("tokenizer.ggml.bos_token_id")
    is_usual = file.metadata.get("tokenizer.ggml.pre") in _BEGIN_WITH_BOS
    if bos is not None and file.metadata.get("tokenizer.ggml.add_bos_token", is_usual):
        bpe.post_processor = TemplateProcessing(
            single=f"{tokens[bos]}:0 $A:0", special_tokens=[(tokens[bos], bos)]
        )


def _eos_ids(file: GgufFile, tokens: list[str]) -> frozenset[int]:
    keys = [f"tokenizer.ggml.{role}_token_id" for role in ("eos", "eot", "eom")]
    named = {file.metadata[key] for key in keys if key in file.metadata}
    types = file.metadata["tokenizer.ggml.token_type"]
    known = {
        index
        for index, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind == _CONTROL and token in _END_TOKENS
    }
    return frozenset(named | known)
