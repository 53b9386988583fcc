"""What a client may rely on of replies that are streamed, cut off or held up.

As in `test_conformance.py`, each test is one row of `benchmarks/conformance.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from conformance_prompts import DRAWN, GREEDY, SHORT
from sglang_peer import Json, Peer


def long(peer: Peer) -> int:
    """Tokens that take a while."""
    return min(240, peer.context_length - 64)


# --- streams -------------------------------------------------------------------------------------


def assert_stream_equals_whole(events: list[Json], whole: Json) -> None:
    for event in events:
        assert whole["text"].startswith(event["text"]), "a text is the beginning of what follows"
    assert events[-1]["text"] == whole["text"]
    assert events[-1]["meta_info"]["finish_reason"] == whole["meta_info"]["finish_reason"]
    counts = [event["meta_info"]["completion_tokens"] for event in events]
    assert counts == sorted(counts)
    assert counts[-1] == whole["meta_info"]["completion_tokens"]


def test_a_stream_adds_up_to_the_whole(peer: Peer, prompt: list[int]) -> None:
    params = GREEDY | {"max_new_tokens": SHORT}
    whole = peer.generate(input_ids=prompt, sampling_params=params)
    assert_stream_equals_whole(peer.stream(input_ids=prompt, sampling_params=params), whole)


@pytest.mark.parametrize("seed", range(4))
def test_no_stream_shows_half_a_character(peer: Peer, prompt: list[int], seed: int) -> None:
    """At temperature 1 random weights draw bytes, most of which are parts of a character."""
    params = DRAWN | {"max_new_tokens": 48, "sampling_seed": seed}
    whole = peer.generate(input_ids=prompt, sampling_params=params)
    assert_stream_equals_whole(peer.stream(input_ids=prompt, sampling_params=params), whole)


def test_streamed_ids_and_log_probs_are_cumulative(peer: Peer, prompt: list[int]) -> None:
    body = {
        "input_ids": prompt,
        "sampling_params": GREEDY | {"max_new_tokens": 6},
        "return_logprob": True,
    }
    whole = peer.generate(**body)
    events = peer.stream(**body)
    for event in events:
        count = event["meta_info"]["completion_tokens"]
        assert event["output_ids"] == whole["output_ids"][:count]
        assert len(event["meta_info"]["output_token_logprobs"]) == count


def test_a_streamed_batch_says_whose_event_it_is(peer: Peer, prompt: list[int]) -> None:
    params = GREEDY | {"max_new_tokens": 8}
    whole = peer.generate(input_ids=[prompt, prompt[:3]], sampling_params=params)
    events = peer.stream(input_ids=[prompt, prompt[:3]], sampling_params=params)
    for index in range(2):
        assert_stream_equals_whole([e for e in events if e["index"] == index], whole[index])


def test_a_chat_stream_adds_up_to_the_whole(peer: Peer) -> None:
    body = {
        "model": peer.model["id"],
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 16,
        "temperature": 0,
    }
    whole = peer.post("/v1/chat/completions", body).json()
    events = peer.stream("/v1/chat/completions", **body)
    deltas = [e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"]]
    assert "".join(deltas) == whole["choices"][0]["message"]["content"]
    assert whole["usage"]["completion_tokens"] <= 16


def test_a_completion_is_what_generate_says(peer: Peer, prompt: list[int]) -> None:
    params = {"temperature": 0, "max_new_tokens": 8}
    native = peer.generate(input_ids=prompt, sampling_params=params)
    body = {"model": peer.model["id"], "prompt": prompt, "max_tokens": 8, "temperature": 0}
    answer = peer.post("/v1/completions", body).json()
    assert answer["choices"][0]["text"] == native["text"]
    events = peer.stream("/v1/completions", **body)
    assert "".join(e["choices"][0]["text"] for e in events if e["choices"]) == native["text"]


# --- ending and pausing --------------------------------------------------------------------------


class Streamed:
    """A long reply under way in a thread."""

    def __init__(self, peer: Peer, prompt: list[int], rid: str) -> None:
        self.events: list[Json] = []
        self._has_begun = threading.Event()
        self._peer, self._prompt, self._rid = peer, prompt, rid

    def run(self) -> list[Json]:
        params = DRAWN | {"max_new_tokens": long(self._peer)}
        with self._peer.streaming(
            input_ids=self._prompt, rid=self._rid, sampling_params=params
        ) as events:
            for event in events:
                self.events.append(event)
                self._has_begun.set()
        return self.events

    def wait(self) -> None:
        assert self._has_begun.wait(60), "no event came"


@contextmanager
def streamed(
    peer: Peer, prompt: list[int], rid: str
) -> Iterator[tuple[Streamed, Future[list[Json]]]]:
    with ThreadPoolExecutor(1) as pool:
        reply = Streamed(peer, prompt, rid)
        future = pool.submit(reply.run)
        reply.wait()
        yield reply, future


def ending(events: list[Json]) -> Any:
    return events[-1]["meta_info"]["finish_reason"]


@pytest.mark.parametrize("body", [{"rid": "to-abort"}, {"abort_all": True}], ids=["rid", "all"])
def test_an_aborted_reply_ends_with_what_it_has(peer: Peer, prompt: list[int], body: Json) -> None:
    with streamed(peer, prompt, "to-abort") as (_, future):
        assert peer.post("/abort_request", body).status_code == 200
        events = future.result(60)
    assert ending(events)["type"] == "abort"
    assert 0 < events[-1]["meta_info"]["completion_tokens"] < long(peer)


def test_a_request_that_comes_during_a_pause_waits(peer: Peer, prompt: list[int]) -> None:
    assert peer.post("/pause_generation", {"mode": "in_place"}).status_code == 200
    with ThreadPoolExecutor(1) as pool:
        params = GREEDY | {"max_new_tokens": 4}
        future = pool.submit(peer.generate, input_ids=prompt, sampling_params=params)
        time.sleep(0.5)
        assert not future.done()
        assert peer.post("/continue_generation").status_code == 200
        assert len(future.result(60)["output_ids"]) == 4


@pytest.mark.parametrize("mode", ["in_place", "retract"])
def test_a_pause_keeps_what_runs(peer: Peer, prompt: list[int], mode: str) -> None:
    with streamed(peer, prompt, f"kept-{mode}") as (reply, future):
        peer.post("/pause_generation", {"mode": mode})
        time.sleep(0.3)
        before = len(reply.events)
        time.sleep(0.3)
        assert len(reply.events) == before
        assert not future.done()
        peer.post("/continue_generation")
        events = future.result(60)
    assert ending(events) == {"type": "length", "length": long(peer)}
    assert events[-1]["meta_info"]["completion_tokens"] == long(peer)


def test_a_pause_by_abort_ends_what_runs(peer: Peer, prompt: list[int]) -> None:
    with streamed(peer, prompt, "ended") as (_, future):
        peer.post("/pause_generation", {"mode": "abort"})
        events = future.result(60)
    assert ending(events)["type"] == "abort"


def test_an_unknown_pause_is_refused(peer: Peer) -> None:
    assert peer.post("/pause_generation", {"mode": "nap"}).status_code in (400, 422, 500)


def test_the_cache_is_not_flushed_under_a_reply(peer: Peer, prompt: list[int]) -> None:
    with streamed(peer, prompt, "flushing") as (_, future):
        peer.post("/pause_generation", {"mode": "in_place"})
        is_refused = peer.post("/flush_cache").status_code != 200
        peer.post("/continue_generation")
        future.result(60)
    assert is_refused
    assert peer.post("/flush_cache").status_code == 200


def test_a_flushed_cache_knows_no_prompt(peer: Peer) -> None:
    text = "Once upon a time there was a server that forgot everything it had read. " * 2
    body: Json = {"text": text, "sampling_params": {"temperature": 0, "max_new_tokens": 1}}
    peer.generate(**body)
    assert peer.generate(**body)["meta_info"]["cached_tokens"] > 0
    assert peer.post("/flush_cache").status_code == 200
    assert peer.generate(**body)["meta_info"]["cached_tokens"] == 0
