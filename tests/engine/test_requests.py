from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clawjax.engine.requests import reply_limit
from clawjax.errors import WireError
from clawjax.protocols import GenerateRequest
from clawjax.records import SamplingParams

GOOD = GenerateRequest("r", (1, 2, 3), SamplingParams(max_response_tokens=5), seed=0)


def limit(request: GenerateRequest) -> int:
    return reply_limit(request, vocab_size=100, context_length=10)


def test_the_reply_ends_where_the_context_does() -> None:
    assert limit(GOOD) == 5
    assert limit(replace(GOOD, prompt_ids=tuple(range(8)))) == 2
    assert limit(replace(GOOD, prompt_ids=tuple(range(9)))) == 1


def test_a_prompt_that_fills_the_context_is_refused_in_openai_words() -> None:
    with pytest.raises(WireError) as caught:
        limit(replace(GOOD, prompt_ids=tuple(range(10))))
    assert caught.value.status == 400
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.message == (
        "This model's maximum context length is 10 tokens. However, your messages resulted in "
        "10 tokens. Please reduce the length of the messages."
    )


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("temperature", -0.1, "temperature"),
        ("temperature", 2.1, "temperature"),
        ("temperature", float("nan"), "temperature"),
        ("top_p", 0.0, "top_p"),
        ("top_p", 1.1, "top_p"),
        ("top_k", -1, "top_k"),
        ("min_p", -0.1, "min_p"),
        ("min_p", 1.5, "min_p"),
        ("max_response_tokens", 0, "max_tokens"),
    ],
)
def test_each_parameter_has_its_limits(field: str, value: float, param: str) -> None:
    change: dict[str, Any] = {field: value}
    with pytest.raises(WireError, match=param) as caught:
        limit(replace(GOOD, sampling=replace(GOOD.sampling, **change)))
    assert caught.value.status == 400
    assert caught.value.param == param


@pytest.mark.parametrize("prompt_ids", [(), (1, 100), (-1,)])
def test_a_prompt_has_tokens_of_the_vocabulary(prompt_ids: tuple[int, ...]) -> None:
    with pytest.raises(WireError):
        limit(replace(GOOD, prompt_ids=prompt_ids))


@pytest.mark.parametrize("count", [-1, 21])
def test_alternatives_are_twenty_at_most(count: int) -> None:
    with pytest.raises(WireError, match="top_logprobs"):
        limit(replace(GOOD, top_logprobs=count))
