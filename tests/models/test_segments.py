"""What is kept of a prompt changes nothing about its ids."""

import threading

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from clawjax.config import ModelConfig
from clawjax.models import segments
from clawjax.models.load import load_tokenizer
from clawjax.models.segments import SegmentEncoder
from clawjax.models.tiny import tiny_tokenizer
from clawjax.records import Message

SMOLLM2, TINY = load_tokenizer(ModelConfig())[0], tiny_tokenizer()
PIECES = [
    "<|im_start|>",
    "<|im_end|>",
    "<|im_",
    "<tool_call>",
    " ",
    "\n",
    "a",
    "is ",
    "é",
    "\u4e16",
]


def encoder(tokenizer) -> SegmentEncoder:
    return SegmentEncoder(tokenizer._tokenizer, tokenizer._control)


@pytest.fixture
def short_parts(monkeypatch):
    monkeypatch.setattr(segments, "_SHORTEST", 3)


@pytest.mark.parametrize("tokenizer", [SMOLLM2, TINY], ids=["smollm2", "tiny"])
def test_ids_are_those_of_the_whole_text(tokenizer, short_parts):
    segmented = encoder(tokenizer)

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(PIECES) | st.text(max_size=6)).map("".join))
    def agrees(text):
        assert segmented.encode(text) == tokenizer.encode(text)

    agrees()


def test_a_long_part_is_encoded_once_for_each_scope(monkeypatch):
    encoded: list[str] = []
    plain = segments.encoded

    def counted(tokenizer, text):
        encoded.append(text)
        return plain(tokenizer, text)

    monkeypatch.setattr(segments, "encoded", counted)
    tokenizer, message = tiny_tokenizer(), "x" * 3000
    prompt = tokenizer.render([Message("user", message)])
    told = [tokenizer.encode_prompt(prompt, scope) for scope in ("a", "a", "b", "a", "b", None)]
    assert set(told) == {tokenizer.encode(prompt)}
    assert sum(message in text for text in encoded) == 3


def test_a_long_part_is_encoded_once():
    segmented = encoder(SMOLLM2)
    long = "You are a personal assistant. " * 100
    for question in ("one", "two"):
        text = f"<|im_start|>system\n{long}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n"
        assert segmented.encode(text) == SMOLLM2.encode(text)
    assert (segmented._kept.cache_info().hits, segmented._kept.cache_info().misses) == (1, 1)


def test_parts_longer_than_instructions_are_encoded_and_not_kept():
    segmented = encoder(TINY)
    text = f"<|im_start|>user\n{'7 ' * segments._LONGEST}<|im_end|>\n"
    assert segmented.encode(text) == tuple(TINY._tokenizer.encode(text).ids)
    assert segmented._kept.cache_info().currsize == 0


def test_others_run_while_a_long_text_is_encoded():
    is_done = threading.Event()
    text, looks = "1" * 200_000, 0

    def encode():
        encoder(SMOLLM2).encode(text)
        is_done.set()

    worker = threading.Thread(target=encode)
    worker.start()
    while not is_done.wait(0.001):
        looks += 1
    worker.join()
    assert looks > 20, "a call that holds the lock leaves two or three"


def test_a_tokenizer_that_marks_the_first_part_only_is_asked_for_whole_texts(short_parts):
    vocabulary = tokenizers.Tokenizer.from_str(TINY._tokenizer.to_str())
    vocabulary.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    segmented = SegmentEncoder(vocabulary, TINY._control)
    text = "hello<|im_end|>hello"
    whole = tuple(vocabulary.encode(text, add_special_tokens=False).ids)
    assert segmented.encode(text) == whole
    assert segmented._kept.cache_info().misses == 0
