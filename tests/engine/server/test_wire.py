"""Bodies of `/generate`, as values."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clawjax.engine.server.wire import GenerateCall, parse_generate
from clawjax.engine.sglang.wire import Dialect, Weights, generate_body
from clawjax.errors import WireError
from clawjax.protocols import GenerateRequest
from clawjax.records import Grammar, GrammarKind, SamplingParams


def parsed(**body: Any) -> GenerateCall:
    numbers = itertools.count()
    return parse_generate(body, new_rid=lambda: f"new{next(numbers)}", draw_seed=lambda: 5)


def test_what_a_bare_prompt_asks_for() -> None:
    call = parsed(text="hello")
    [wanted] = call.wanted
    assert not call.is_batch
    assert not call.is_stream
    assert (wanted.rid, wanted.text, wanted.input_ids, wanted.seed) == ("new0", "hello", (), 5)
    assert wanted.sampling == SamplingParams(128)
    assert not wanted.wants_logprobs
    assert wanted.logprob_start is None


def test_every_parameter_is_read() -> None:
    params = {
        "max_new_tokens": 9, "temperature": 0.7, "top_p": 0.9, "top_k": 20, "min_p": 0.1,
        "stop": ["a", "", "a"], "stop_token_ids": [3, 4], "ignore_eos": True, "sampling_seed": 11,
    }  # fmt: skip
    [wanted] = parsed(
        input_ids=[1, 2, 3], sampling_params=params, rid="mine", return_logprob=True,
        logprob_start_len=1, top_logprobs_num=2, return_text_in_logprobs=False, priority=3,
        lora_path="x",
    ).wanted  # fmt: skip
    assert wanted.sampling == SamplingParams(
        9, 0.7, 0.9, 20, 0.1, stop=("a",), stop_token_ids=(3, 4), ignore_eos=True
    )
    assert (wanted.rid, wanted.seed, wanted.input_ids) == ("mine", 11, (1, 2, 3))
    assert (wanted.logprob_start, wanted.top_logprobs, wanted.priority) == (1, 2, 3)
    assert (wanted.has_token_texts, wanted.lora_path) == (False, "x")


@pytest.mark.parametrize(("said", "meant"), [(0, 0.0), (1e-7, 0.0), (0.5, 0.5), (None, 1.0)])
def test_temperatures_near_zero_are_greedy(said: float | None, meant: float) -> None:
    [wanted] = parsed(text="x", sampling_params={"temperature": said}).wanted
    assert wanted.sampling.temperature == meant


def test_each_prompt_of_a_batch_has_its_own_settings() -> None:
    call = parsed(
        input_ids=[[1], [2]],
        sampling_params=[{"max_new_tokens": 1}, {"max_new_tokens": 2}],
        rid=["a", "b"],
        return_logprob=[True, False],
        logprob_start_len=[0, 0],
    )
    assert call.is_batch
    assert [(w.rid, w.sampling.max_response_tokens, w.logprob_start) for w in call.wanted] == [
        ("a", 1, 0),
        ("b", 2, None),
    ]


def test_several_replies_follow_their_prompt_and_differ_in_seed() -> None:
    call = parsed(text=["x", "y"], sampling_params={"n": 2, "sampling_seed": 7}, rid="r")
    assert [(w.text, w.name, w.rid, w.seed) for w in call.wanted] == [
        ("x", "r_0", "r_0_0", 7), ("x", "r_0", "r_0_1", 8),
        ("y", "r_1", "r_1_0", 7), ("y", "r_1", "r_1_1", 8),
    ]  # fmt: skip
    assert parsed(text="x", sampling_params={"n": 2}).is_batch


@pytest.mark.parametrize(
    ("body", "words", "code"),
    [
        ({}, "At least one of text", None),
        ({"text": "x", "input_ids": [1]}, "not both", None),
        ({"input_ids": "x"}, "got string, expected an array", "invalid_type"),
        ({"input_ids": [1, "x"]}, "got string", "invalid_type"),
        ({"input_ids": [True]}, "got boolean", "invalid_type"),
        ({"text": []}, "0 prompts", "invalid_value"),
        ({"text": "x", "image_data": "y"}, "reads text only", "invalid_value"),
        ({"text": ["x", "y"], "rid": ["a"]}, "1 entries for 2 prompts", "invalid_value"),
        ({"text": "x", "sampling_params": {"temperature": -1}}, "temperature", "invalid_value"),
        ({"text": "x", "sampling_params": {"top_k": 0}}, "leaves no token", "invalid_value"),
        ({"text": "x", "sampling_params": {"top_p": 0}}, "leaves no token", "invalid_value"),
        ({"text": "x", "sampling_params": {"max_new_tokens": -1}}, "max_new", "invalid_value"),
        ({"text": "x", "sampling_params": {"nonsense": 1}}, "nonsense: is unknown", None),
        (
            {"text": "x", "sampling_params": {"regex": "a+", "json_schema": "{}"}},
            "json_schema and regex exclude one another",
            None,
        ),
        ({"text": "x", "sampling_params": {"json_schema": {}}}, "got object", "invalid_type"),
        ({"text": "x", "sampling_params": {"repetition_penalty": 1.1}}, "not supported", None),
        ({"text": "x", "top_logprobs_num": 21}, "at most 20", "invalid_value"),
        (
            {"text": ["x", "y"], "sampling_params": [{"n": 1}, {"n": 2}]},
            "the same for all prompts",
            None,
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused(body: dict, words: str, code: str | None) -> None:
    with pytest.raises(WireError, match=words) as caught:
        parsed(**body)
    assert caught.value.status == 400
    assert code in (None, caught.value.code)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("json_schema", GrammarKind.JSON_SCHEMA),
        ("regex", GrammarKind.REGEX),
        ("ebnf", GrammarKind.LARK),
        ("structural_tag", GrammarKind.STRUCTURAL_TAG),
    ],
)
def test_grammars_are_taken(name: str, kind: GrammarKind) -> None:
    [wanted] = parsed(text="x", sampling_params={name: "text"}).wanted
    assert wanted.sampling.grammar == Grammar(kind, "text")
    sent = generate_body(
        GenerateRequest("r", (1,), wanted.sampling, 0),
        rid="r", tokens=(), limit=8, stop_ids=(), dialect=Dialect(), weights=Weights(),
    )  # fmt: skip
    params = sent["sampling_params"]
    assert isinstance(params, dict)
    assert params[name] == "text"


def test_what_changes_nothing_may_be_said() -> None:
    params = {"repetition_penalty": 1.0, "frequency_penalty": 0, "json_schema": None, "regex": None}
    [wanted] = parsed(text="x", sampling_params=params, extra_key="y", image_data=None).wanted
    assert wanted.extra_key == "y"


SCALARS = st.sampled_from(
    [None, True, False, 0, 1, -1, 2**70, 0.5, float("nan"), "", "x", "\ud800"]
)
NAMES = [
    "text", "input_ids", "rid", "stream", "return_logprob", "lora_path", "logprob_start_len",
    "top_logprobs_num", "sampling_params", "priority", "extra_key",
]  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(NAMES), SCALARS | st.lists(SCALARS, max_size=3)))
def test_any_body_is_understood_or_refused(body: dict[str, Any]) -> None:
    refused = understood = None
    try:
        understood = parsed(**body)
    except WireError as error:
        refused = error
    assert refused is None or refused.status == 400
    assert understood is None or len(understood.wanted) >= 1
