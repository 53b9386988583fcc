"""SGLang's bodies and events, those of recorded servers among them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clawjax.engine.sglang.failures import InterruptError, RefusedError, UnreadableError
from clawjax.engine.sglang.wire import (
    SAMPLER_FIELD,
    Dialect,
    TokenStream,
    Weights,
    generate_body,
    is_busy,
    read_scores,
    score_body,
    words_of,
)
from clawjax.errors import EngineError, WireError
from clawjax.protocols import GenerateRequest, ScoreRequest
from clawjax.records import FinishReason, SamplingParams

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())
GREEDY = GenerateRequest("r", (1, 2, 3), SamplingParams(8, temperature=0.0, top_p=0.5), seed=5)


def meta(done, entries, finish=None, **more):
    return {
        "meta_info": {
            "completion_tokens": done,
            "output_token_logprobs": entries,
            "finish_reason": finish,
            **more,
        }
    }


def entries(*ids):
    return [[-float(i), i, None] for i in ids]


def body_of(request=GREEDY, tokens=(), limit=8, **kwargs):
    kwargs = {"stop_ids": (), "dialect": Dialect(), "weights": Weights()} | kwargs
    return generate_body(request, rid="r-0", tokens=tokens, limit=limit, **kwargs)


def test_a_recorded_stream_of_sglang_jax_is_read_as_the_whole_reply_it_was():
    stream, pieces = TokenStream(), []
    for line in RECORDED["stream"].splitlines():
        text = line.removeprefix("data: ")
        if text and text != "[DONE]":
            pieces.append(stream.push(json.loads(text)))
    whole = TokenStream().push(RECORDED["whole"])
    assert sum((piece.token_ids for piece in pieces), ()) == whole.token_ids
    assert sum((piece.logprobs for piece in pieces), ()) == whole.logprobs
    assert [len(piece.token_ids) for piece in pieces] == [1, 1, 1, 1]
    assert pieces[-1].end.reason is whole.end.reason is FinishReason.LENGTH


def test_recorded_scores_are_the_tail_of_the_prompts():
    ids = [entry[1] for entry in RECORDED["scored"]["meta_info"]["input_token_logprobs"]]
    request = ScoreRequest("s", tuple(ids[:4]), tuple(ids[4:]))
    body = score_body(request, rid="s-0", dialect=Dialect(), weights=Weights())
    assert body["logprob_start_len"] == 3
    answer = json.loads(json.dumps(RECORDED["scored"]))
    told = answer["meta_info"]["input_token_logprobs"]
    wanted = tuple(entry[0] for entry in told[4:])
    answer["meta_info"]["input_token_logprobs"] = [[None, ids[3], None], *told[4:]]
    assert read_scores(answer, request) == wanted
    for off_by_one in (told[2:], told[4:]):
        answer["meta_info"]["input_token_logprobs"] = off_by_one
        with pytest.raises(EngineError, match="does not honour logprob_start_len"):
            read_scores(answer, request)


def test_scores_that_a_server_gave_up_are_not_scores():
    answer = meta(0, [], {"type": "abort", "message": "shutting down"})
    with pytest.raises(InterruptError, match="shutting down"):
        read_scores(answer, ScoreRequest("s", (1,), (2,)))


@pytest.mark.parametrize(("name", "words"), sorted(RECORDED["errors"].items()))
def test_recorded_errors_keep_their_words(name, words):
    assert words_of(RECORDED["bodies"][name]) == words


def test_a_greedy_request_names_no_filters():
    params = body_of()["sampling_params"]
    assert params == {"temperature": 0.0, "max_new_tokens": 8, "sampling_seed": 5}


def test_the_rest_of_a_reply_is_asked_after_what_is_known():
    body = body_of(tokens=[7, 8], limit=8)
    assert body["input_ids"] == [1, 2, 3, 7, 8]
    assert body["sampling_params"]["max_new_tokens"] == 6


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        (Dialect(), {}),
        (Dialect(takes_priority=True), {"priority": -4}),
        (Dialect(takes_priority=True, low_priority_first=True), {"priority": 4}),
    ],
)
def test_priorities_are_translated_where_they_are_known(dialect, fields):
    request = GenerateRequest("r", (1,), SamplingParams(1), seed=0, priority=4)
    body = body_of(request, dialect=dialect)
    assert {k: v for k, v in body.items() if k == "priority"} == fields


def test_weights_are_named_where_there_is_something_to_name():
    assert "lora_path" not in body_of()
    body = body_of(weights=Weights("clawjax-000002", "clawjax-000002"))
    assert (body["extra_key"], body["lora_path"]) == ("clawjax-000002", "clawjax-000002")


def test_what_is_cached_is_named_by_weights_and_scope():
    asked = GenerateRequest("r", (1,), SamplingParams(1), seed=0, cache_scope="k1")
    assert body_of(asked, weights=Weights("clawjax-000002"))["extra_key"] == "clawjax-000002/k1"
    assert body_of(asked)["extra_key"] == "k1"


def test_lists_that_lag_behind_or_run_ahead_are_read_as_far_as_they_go():
    stream = TokenStream()
    assert stream.push(meta(2, entries(5))).token_ids == (5,)
    assert stream.push(meta(4, entries(5, 6, 7, 8, 9))).token_ids == (6, 7, 8)
    last = stream.push(meta(5, entries(5, 6, 7, 8, 9), {"type": "length"}))
    assert last.token_ids == (9,)


def test_an_incremental_list_may_repeat_tokens():
    stream = TokenStream()
    assert stream.push(meta(1, entries(5))).token_ids == (5,)
    assert stream.push(meta(2, entries(5))).token_ids == (5,)
    assert stream.push(meta(4, entries(5, 5), {"type": "length"})).token_ids == (5, 5)


def test_an_aborted_reply_comes_whole_however_it_came_before():
    stream = TokenStream()
    pieces = [stream.push(meta(i, entries(i))) for i in (1, 2, 3)]
    last = stream.push(meta(3, entries(1, 2, 3), {"type": "abort", "message": "queue"}))
    assert [piece.token_ids for piece in pieces] == [(1,), (2,), (3,)]
    assert last.token_ids == ()
    assert last.end.aborted == "queue"
    more = TokenStream()
    for i in (1, 2):
        more.push(meta(i, entries(i)))
    assert more.push(meta(4, entries(1, 2, 3, 4), {"type": "abort"})).token_ids == (3, 4)


@pytest.mark.parametrize("logprob", [None, float("nan"), float("-inf"), "x"])
def test_a_logprob_that_is_no_number_is_no_token(logprob):
    with pytest.raises(UnreadableError, match="not finite"):
        TokenStream().push(meta(1, [[logprob, 5, None]]))


def test_tokens_without_logprobs_are_an_error_at_the_end():
    stream = TokenStream()
    stream.push(meta(2, entries(5)))
    with pytest.raises(EngineError, match="sampled 3 tokens and sent log-probs of 1"):
        stream.push(meta(3, entries(5), {"type": "stop", "matched": 2}))


def test_alternatives_grow_with_their_tokens():
    stream = TokenStream()
    top = [[[-0.1, 5, None], [-0.2, 6, None]], [[-0.3, 7, None]]]
    first = stream.push(meta(1, entries(5), output_top_logprobs=top[:1]))
    second = stream.push(meta(2, entries(5, 7), output_top_logprobs=top))
    assert first.top_logprobs == (((5, -0.1), (6, -0.2)),)
    assert second.top_logprobs == (((7, -0.3),),)


def test_a_server_may_tell_more_of_each_token():
    stream = TokenStream()
    more = {"output_token_versions": ["1", "1", "2"], SAMPLER_FIELD: [-0.1, -0.2, -0.3]}
    first = stream.push(meta(1, entries(5), **{name: told[:1] for name, told in more.items()}))
    second = stream.push(meta(3, entries(5, 6, 7), **more, weight_version="2"))
    assert (first.weight_versions, first.sampler_logprobs) == (("1",), (-0.1,))
    assert (second.weight_versions, second.sampler_logprobs) == (("1", "2"), (-0.2, -0.3))
    plain = TokenStream().push(meta(2, entries(5, 6), weight_version="4"))
    assert (plain.weight_versions, plain.sampler_logprobs) == (("4", "4"), None)


@pytest.mark.parametrize("is_incremental", [False, True])
def test_an_event_may_span_new_weights(is_incremental):
    def event(label, spans, *, after, total):
        told = entries(*range(after if is_incremental else 0, total))
        versions = [{"version": v, "start": start, "end": end} for v, start, end in spans]
        return meta(total, told, weight_version=label, weight_versions=versions)

    stream = TokenStream()
    pieces = [
        stream.push(event("4", [("4", 0, 1)], after=0, total=1)),
        stream.push(event("4", [("4", 0, 2)], after=1, total=2)),
        stream.push(event("5", [("4", 0, 5), ("5", 5, 6)], after=2, total=6)),
        stream.push(event("6", [("4", 0, 5), ("5", 5, 6), ("6", 6, 8)], after=6, total=8)),
    ]
    assert [len(piece.token_ids) for piece in pieces] == [1, 1, 4, 2]
    versions = [version for piece in pieces for version in piece.weight_versions]
    assert versions == ["4", "4", "4", "4", "4", "5", "6", "6"]


@pytest.mark.parametrize(
    ("finish", "reason", "token"),
    [
        ({"type": "stop", "matched": 2}, FinishReason.STOP, 2),
        ({"type": "stop", "matched": "\n"}, FinishReason.STOP, None),
        ({"type": "length", "length": 1}, FinishReason.LENGTH, None),
        (None, None, None),
    ],
)
def test_endings(finish, reason, token):
    end = TokenStream().push(meta(1, entries(2), finish)).end
    assert (end.reason, end.stop_token, end.aborted) == (reason, token, None)


def test_an_abort_is_no_ending_and_its_tokens_count():
    finish = {"type": "abort", "message": "weights are coming", "status_code": None}
    piece = TokenStream().push(meta(1, entries(2), finish))
    assert piece.token_ids == (2,)
    assert piece.end.reason is None
    assert (piece.end.aborted, piece.end.status) == ("weights are coming", None)
    full = {"type": "abort", "message": "full", "status_code": 503}
    assert TokenStream().push(meta(0, [], full)).end.status == 503


@pytest.mark.parametrize(
    ("event", "error", "words"),
    [
        (meta(0, [], {"type": "abort", "message": "bad grammar", "status_code": 400}), WireError,
         "bad grammar"),
        ({"error": {"message": "odd"}}, WireError, "odd"),
        (meta(1, entries(2), {"type": "stop", "matched": "NaN happened"}), EngineError,
         "not finite"),
        (meta(1, entries(2), {"type": "tired"}), EngineError, "unknown reason"),
        ({"text": "hi"}, EngineError, "no meta_info"),
    ],
)  # fmt: skip
def test_events_that_are_errors(event, error, words):
    with pytest.raises(error, match=words):
        TokenStream().push(event)


def test_busy_is_not_broken():
    assert is_busy(RefusedError("http://a", "/generate", 503, "full"))
    assert not is_busy(RefusedError("http://a", "/generate", 500, "broken"))
    assert is_busy(InterruptError("full", 503))
    assert not is_busy(InterruptError("new weights are coming"))
    assert not is_busy(EngineError("full"))
