"""A text never has fewer tokens than is said before it is encoded."""

from __future__ import annotations

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers

from clawjax.config import ModelConfig
from clawjax.models.lengths import Lengths
from clawjax.models.load import load_tokenizer
from clawjax.models.template import CHATML, ChatTemplate
from clawjax.models.tiny import tiny_tokenizer
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.records import Message

SMOLLM2, TINY = load_tokenizer(ModelConfig())[0], tiny_tokenizer()


def changed(**parts: object) -> ChatTokenizer:
    state = tokenizers.Tokenizer.from_str(TINY._tokenizer.to_str())
    for name, part in parts.items():
        setattr(state, name, part)
    return ChatTokenizer(state, ChatTemplate(CHATML, {}), eos_ids=TINY.eos_ids)


COMPOSING = changed(normalizer=normalizers.NFC())
STRIPPING = changed(normalizer=normalizers.Sequence([normalizers.Strip(), normalizers.NFKC()]))
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
SPLITTING = changed(
    pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "removed"), BYTES])
)
LONG = [max((each.piece(i) for i in range(each.vocab_size)), key=len) for each in (SMOLLM2, TINY)]
PIECES = [
    *(piece.decode() for piece in LONG),
    "<|im_end|>",
    "\ufdd0",
    "\x04\x06",
    "\u1fbe\u0308\u0301",
    "\u1112\u1161\u11ab",
    "\U00040000",
    "\ud800",
    "a\n  b",
]


@pytest.mark.parametrize(
    "tokenizer",
    [SMOLLM2, TINY, COMPOSING, STRIPPING, SPLITTING],
    ids=["smollm2", "tiny", "composing", "stripping", "splitting"],
)
def test_no_text_has_fewer_tokens(tokenizer: ChatTokenizer) -> None:
    @settings(deadline=None)
    @given(st.lists(st.sampled_from(PIECES) | st.text(max_size=6)).map("".join))
    def holds(text: str) -> None:
        shown = tokenizer.render([Message("user", text.replace("\ud800", "?"))])
        assert tokenizer.fewest_tokens(shown) <= len(tokenizer.encode_prompt(shown))
        assert tokenizer.fewest_tokens(text) >= 0

    holds()


@pytest.mark.parametrize("tokenizer", [SMOLLM2, TINY], ids=["smollm2", "tiny"])
def test_a_text_of_the_longest_tokens_has_just_so_many(tokenizer: ChatTokenizer) -> None:
    longest = max((tokenizer.piece(i) for i in range(tokenizer.vocab_size)), key=len).decode()
    assert tokenizer.fewest_tokens(longest) == 1
    assert tokenizer.fewest_tokens("x" * 10 * len(longest)) == 10


def test_what_a_vocabulary_drops_or_composes_counts_for_less() -> None:
    assert SMOLLM2.encode("\x04" * 999) == ()
    assert SMOLLM2.fewest_tokens("\x04" * 999) == 0
    plain = TINY.fewest_tokens("x" * 9600)
    assert COMPOSING.fewest_tokens("x" * 9600) == plain
    assert COMPOSING.fewest_tokens("e\u0301" * 3200) == pytest.approx(plain / 4, abs=1)
    for careful in (STRIPPING, SPLITTING):
        assert careful.fewest_tokens("x" * 9600) == pytest.approx(plain / 16, abs=1)


def test_tokens_that_swallow_white_space_make_a_text_shorter() -> None:
    state = tokenizers.Tokenizer.from_str(TINY._tokenizer.to_str())
    state.add_special_tokens([tokenizers.AddedToken("<|note|>", rstrip=True)])
    swallowing = ChatTokenizer(state, ChatTemplate(CHATML, {}), eos_ids=TINY.eos_ids)
    plain = TINY.fewest_tokens("x" * 9600)
    assert swallowing.fewest_tokens("x" * 9600) == pytest.approx(plain / 16, abs=1)


def test_words_in_which_marks_stand_for_spaces_are_counted_whole() -> None:
    pieces = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"\u2581": 256, "a": 257}
    model = tokenizers.models.BPE(pieces, [], byte_fallback=True, unk_token="a")
    words = tokenizers.Tokenizer(model)
    words.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    lengths = Lengths(words, range(258), lambda i: b"" if i > 255 else bytes([i]))
    assert lengths.fewest_tokens("a a") == 3 <= len(words.encode("a a").ids)
