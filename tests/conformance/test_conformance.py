"""What a client may rely on, whoever serves: `pytest tests/conformance [--sglang-url URL]`.

Each test is one row of `benchmarks/conformance.py`; what it measures is its `record_property`.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from conformance_prompts import DRAWN, GREEDY, SHORT
from sglang_peer import EXCHANGES, Json, Peer, events_of
from shapes import differences

PARITY = 1e-4
"""Largest difference of two log-probs of the same token, in nats."""
SHAPES = [
    "model_info", "health", "generate_ids_logprob", "generate_prompt_logprob", "generate_temp",
    "generate_batch", "generate_stop_ids", "chat", "models", "pause_abort", "continue",
    "pause_in_place", "continue2", "flush", "abort_unknown", "server_info",
]  # fmt: skip
STREAMS = ["generate_stream", "chat_stream"]
ERRORS = ["err_no_input", "err_bad_type", "err_neg_temp", "err_too_long"]

Record = Callable[[str, object], None]


def ask(name: str, peer: Peer, prompt: list[int]) -> tuple[str, str, Json | None]:
    """A recorded request, in tokens that this server knows."""
    request = EXCHANGES[name]["request"]
    body = None if request["json"] is None else dict(request["json"])
    if body and isinstance(body.get("input_ids"), list):
        is_batch = isinstance(body["input_ids"][0], list)
        body["input_ids"] = [prompt, prompt[:3]] if is_batch else prompt
    if name == "err_too_long":
        assert body is not None
        body["input_ids"] = [prompt[0]] * (peer.context_length + 10)
    if body and "model" in body:
        body["model"] = peer.model["id"]
    return request["method"], request["path"], body


# --- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_shape(peer: Peer, prompt: list[int], name: str) -> None:
    method, path, body = ask(name, peer, prompt)
    recorded = EXCHANGES[name]
    answer = peer.http.request(method, path, json=body)
    assert answer.status_code == recorded["status"], answer.text
    if not isinstance(recorded["body"], str):
        assert list(differences(recorded["body"], answer.json())) == []


@pytest.mark.parametrize("name", STREAMS)
def test_shape_of_streams(peer: Peer, prompt: list[int], name: str) -> None:
    _, path, body = ask(name, peer, prompt)
    recorded = list(events_of(iter(EXCHANGES[name]["text"].splitlines())))
    found = peer.stream(path, **(body or {}))
    assert list(differences(recorded[-1], found[-1])) == []
    if path == "/generate":
        for event in found:
            assert list(differences(recorded[0], event)) == []
            assert (event["meta_info"]["finish_reason"] is None) == (event is not found[-1])


@pytest.mark.parametrize("name", ERRORS)
def test_status_and_words_of_errors(peer: Peer, prompt: list[int], name: str) -> None:
    method, path, body = ask(name, peer, prompt)
    answer = peer.http.request(method, path, json=body)
    assert answer.status_code == EXCHANGES[name]["status"]
    payload = answer.json()
    words = payload["message"] if "object" in payload else payload["error"]["message"]
    assert isinstance(words, str)
    assert words
    if name == "err_too_long":
        assert str(peer.context_length) in words


def test_an_unknown_path_is_not_found(peer: Peer) -> None:
    assert peer.post("/no_such_path").status_code == 404


def test_a_body_that_is_no_json_is_a_bad_request(peer: Peer) -> None:
    headers = {"content-type": "application/json"}
    answer = peer.http.post("/generate", content=b'{"text": ', headers=headers)
    assert answer.status_code in (400, 422)


# --- what is drawn -------------------------------------------------------------------------------


def test_greedy_replies_are_the_same_each_time(peer: Peer, prompt: list[int]) -> None:
    params = GREEDY | {"max_new_tokens": SHORT}
    first, second = (peer.generate(input_ids=prompt, sampling_params=params) for _ in range(2))
    assert first["output_ids"] == second["output_ids"]
    assert first["text"] == second["text"]
    assert len(first["output_ids"]) == SHORT == first["meta_info"]["completion_tokens"]


def test_a_batch_answers_as_its_prompts_alone(peer: Peer, prompt: list[int]) -> None:
    params = GREEDY | {"max_new_tokens": 8}
    prompts = [prompt, prompt[:3], prompt[2:]]
    alone = [peer.generate(input_ids=one, sampling_params=params) for one in prompts]
    batch = peer.generate(input_ids=prompts, sampling_params=params)
    assert [one["output_ids"] for one in batch] == [one["output_ids"] for one in alone]
    assert len({one["meta_info"]["id"] for one in batch}) == 3


def test_several_replies_to_one_prompt(peer: Peer, prompt: list[int]) -> None:
    params = DRAWN | {"max_new_tokens": 12, "n": 3}
    replies = peer.generate(input_ids=prompt, sampling_params=params)
    assert len(replies) == 3
    assert len({tuple(one["output_ids"]) for one in replies}) > 1


def test_text_and_its_ids_are_the_same_prompt(peer: Peer) -> None:
    text = "Hello, how are you?"
    params = GREEDY | {"max_new_tokens": 6}
    by_text = peer.generate(text=text, sampling_params=params)
    by_ids = peer.generate(input_ids=peer.ids(text), sampling_params=params)
    assert by_text["output_ids"] == by_ids["output_ids"]


def test_a_named_request_keeps_its_name(peer: Peer, prompt: list[int]) -> None:
    body = peer.generate(input_ids=prompt, rid="mine", sampling_params={"max_new_tokens": 1})
    assert body["meta_info"]["id"] == "mine"
    assert body["meta_info"]["prompt_tokens"] == len(prompt)


# --- log-probs -----------------------------------------------------------------------------------


def test_scoring_agrees_with_what_was_generated(
    peer: Peer, prompt: list[int], record_property: Record
) -> None:
    drawn = peer.generate(
        input_ids=prompt,
        sampling_params=DRAWN | {"max_new_tokens": 64, "sampling_seed": 7},
        return_logprob=True,
    )
    reply = drawn["output_ids"]
    given = [entry[0] for entry in drawn["meta_info"]["output_token_logprobs"]]
    assert [entry[1] for entry in drawn["meta_info"]["output_token_logprobs"]] == reply
    scored = peer.generate(
        input_ids=[*prompt, *reply],
        sampling_params={"temperature": 0, "max_new_tokens": 0},
        return_logprob=True,
        logprob_start_len=len(prompt) - 1,
    )
    entries = scored["meta_info"]["input_token_logprobs"]
    assert entries[0][:2] == [None, prompt[-1]], "the first is predicted by nothing"
    assert [entry[1] for entry in entries[1:]] == reply
    worst = max(abs(a - entry[0]) for a, entry in zip(given, entries[1:], strict=True))
    record_property("largest difference of log-probs", worst)
    assert worst <= PARITY


def test_greedy_tokens_are_the_likeliest(peer: Peer, prompt: list[int]) -> None:
    body = peer.generate(
        input_ids=prompt,
        sampling_params=GREEDY | {"max_new_tokens": 8},
        return_logprob=True,
        top_logprobs_num=3,
    )
    meta = body["meta_info"]
    for entry, tops in zip(meta["output_token_logprobs"], meta["output_top_logprobs"], strict=True):
        values = [one[0] for one in tops]
        assert len(values) == 3
        assert values == sorted(values, reverse=True)
        assert abs(entry[0] - values[0]) <= PARITY


# --- endings -------------------------------------------------------------------------------------


def test_a_stop_string_is_cut_off_and_named(peer: Peer, prompt: list[int]) -> None:
    whole = peer.generate(input_ids=prompt, sampling_params=GREEDY | {"max_new_tokens": 48})
    text = whole["text"]
    start = next(i for i in range(8, len(text)) if "\ufffd" not in text[i : i + 2])
    stop = text[start : start + 2]
    params = GREEDY | {"max_new_tokens": 48, "stop": [stop]}
    cut = peer.generate(input_ids=prompt, sampling_params=params)
    assert cut["text"] == text[: text.index(stop)]
    assert cut["meta_info"]["finish_reason"] == {"type": "stop", "matched": stop}
    assert cut["output_ids"] == whole["output_ids"][: len(cut["output_ids"])]


def test_a_stop_token_ends_the_reply(peer: Peer, prompt: list[int]) -> None:
    whole = peer.generate(input_ids=prompt, sampling_params=GREEDY | {"max_new_tokens": 24})
    token = whole["output_ids"][5]
    first = whole["output_ids"].index(token)
    params = GREEDY | {"max_new_tokens": 24, "stop_token_ids": [token]}
    cut = peer.generate(input_ids=prompt, sampling_params=params)
    assert cut["meta_info"]["finish_reason"] == {"type": "stop", "matched": token}
    assert cut["output_ids"][:first] == whole["output_ids"][:first]
    assert len(cut["output_ids"]) in (first, first + 1)
    assert whole["text"].startswith(cut["text"])


def test_a_reply_ends_at_its_length(peer: Peer, prompt: list[int]) -> None:
    body = peer.generate(input_ids=prompt, sampling_params=GREEDY | {"max_new_tokens": 5})
    assert body["meta_info"]["finish_reason"] == {"type": "length", "length": 5}


# --- health and weights --------------------------------------------------------------------------


def test_health_that_generates(peer: Peer) -> None:
    assert peer.http.get("/health_generate").status_code == 200


def test_weights_that_are_not_there_are_refused_and_the_old_ones_stay(
    peer: Peer, prompt: list[int]
) -> None:
    info = peer.http.get("/get_model_info").json()
    if "weight_version" not in info:
        pytest.skip("this server takes no new weights")
    params = GREEDY | {"max_new_tokens": 4}
    before = peer.generate(input_ids=prompt, sampling_params=params)
    answer = peer.post("/update_weights_from_disk", {"model_path": "/no/such/weights"})
    assert answer.status_code == 400
    assert answer.json()["success"] is False
    assert json.dumps(answer.json()["message"])
    after = peer.generate(input_ids=prompt, sampling_params=params)
    assert after["output_ids"] == before["output_ids"]
    assert peer.http.get("/get_model_info").json() == info
