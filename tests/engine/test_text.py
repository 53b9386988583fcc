from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from clawjax.engine.text import ReplyText, StopStrings
from clawjax.models.tiny import tiny_tokenizer

TEXT = st.text("abc", max_size=30)
STOPS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=4)


def shown(text: str, stops: list[str]) -> str:
    """The specification: cut before whatever stop string is complete first."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)]
    return text


def streamed(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    cutter = StopStrings(stops)
    text = "".join(cutter.push(piece) for piece in pieces)
    return text + cutter.flush(), cutter.is_stopped


@given(TEXT, STOPS, st.lists(st.integers(0, 30), max_size=6))
def test_any_chunking_shows_what_the_whole_text_shows(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    got, is_stopped = streamed(pieces, stops)
    assert got == shown(text, stops)
    assert is_stopped == any(stop in text for stop in stops)


@given(TEXT, STOPS)
def test_a_stop_string_is_never_shown_not_even_in_part(text: str, stops: list[str]) -> None:
    cutter = StopStrings(stops)
    so_far = ""
    for character in text:
        so_far += cutter.push(character)
        assert not any(stop in so_far for stop in stops)
        assert shown(text, stops).startswith(so_far)


def test_text_that_cannot_begin_a_stop_string_is_shown_at_once() -> None:
    cutter = StopStrings(["\n\n"])
    assert cutter.push("one") == "one"
    assert cutter.push(" two\n") == " two"
    assert cutter.push("three") == "\nthree"
    assert cutter.push("\n") == ""
    assert cutter.push("\nfour") == ""
    assert cutter.is_stopped
    assert cutter.flush() == ""


def test_a_character_of_several_tokens_appears_whole() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode("né 🙂")
    reply = ReplyText(tokenizer.detokenizer(), [])
    pieces = [reply.push(token) for token in ids]
    assert len(ids) > len("né 🙂")
    assert "".join(pieces) + reply.finish() == "né 🙂"
    assert not any(re.search("\ufffd", piece) for piece in pieces)


def test_a_stop_string_ending_in_a_flushed_character_still_counts() -> None:
    tokenizer = tiny_tokenizer()
    reply = ReplyText(tokenizer.detokenizer(), ["\ufffd"])
    first = tokenizer.encode("🙂")[0]
    assert reply.push(first) == ""
    assert reply.finish() == ""
    assert reply.is_stopped
