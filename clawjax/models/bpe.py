"""Byte-level BPE tokenizers from a vocabulary and merges, as GGUF files carry them.

What such a file cannot say, how text is split before merging, it names (`tokenizer.ggml.pre`);
the splits behind the names are here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from clawjax.errors import ConfigError

__all__ = ["PRE_TOKENIZERS", "byte_level_bpe"]

_GPT2 = ("gpt2", "gpt-2", "default")
_DIGITS = ("smollm", "starcoder", "refact", "command-r")
_QWEN2 = ("qwen2",)
_LLAMA3 = ("llama-bpe", "llama3", "llama-v3")
PRE_TOKENIZERS = (*_GPT2, *_DIGITS, *_QWEN2, *_LLAMA3)
"""Known values of `tokenizer.ggml.pre`."""

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level_bpe(
    tokens: Sequence[str],
    merges: Iterable[tuple[str, str]],
    *,
    pre: str,
    added: Sequence[AddedToken] = (),
    ignore_merges: bool | None = None,
) -> Tokenizer:
    """Build a tokenizer.

    Args:
        tokens: token strings by id, bytes spelled with GPT-2's alphabet; includes `added`.
        merges: pairs, most important first.
        pre: name of the split, one of `PRE_TOKENIZERS`.
        added: tokens that are found in text before anything else.
        ignore_merges: whether a whole word that is a token is that token, whatever the merges
            say; by default what the family of `pre` does.

    Raises:
        ConfigError: an unknown split, or merges that do not fit the tokens.
    """
    splitter = _pre_tokenizer(pre)
    ignore = pre in _LLAMA3 if ignore_merges is None else ignore_merges
    vocabulary = {token: index for index, token in enumerate(tokens)}
    try:
        model = models.BPE(vocab=vocabulary, merges=list(merges), ignore_merges=ignore)
    except Exception as error:  # tokenizers raises bare exceptions
        msg = f"the tokenizer's merges do not fit its tokens ({error}): the file is damaged"
        raise ConfigError(msg) from error
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    if pre in _QWEN2:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens(list(added))
    return tokenizer


def _pre_tokenizer(pre: str) -> pre_tokenizers.PreTokenizer:
    if pre in _GPT2:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre in _DIGITS:
        digits = pre_tokenizers.Digits(individual_digits=True)
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return pre_tokenizers.Sequence([digits, byte_level])
    if pre in _QWEN2:
        return _split_words(_WORDS % "")
    if pre in _LLAMA3:
        return _split_words(_WORDS % "{1,3}")
    msg = (
        f"tokenizer.ggml.pre={pre!r} is not supported: use a model with one of "
        f"{', '.join(PRE_TOKENIZERS)}, or load its Hugging Face directory instead"
    )
    raise ConfigError(msg)


def _split_words(pattern: str) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([split, byte_level])
