"""A short version of the fuzzing benchmark: no 5xx, no hang, no trace of what was refused."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from _fuzz import BrokenError, Target, fuzzed
from _fuzz_cases import OTHERS, POSTS
from fuzz import PARTS, measured


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with fuzzed(tmp_path_factory.mktemp("fuzzed")) as target:
        yield target


def _with_description(name: str) -> object:
    is_there = name != "openapi" or find_spec("schemathesis") is not None
    return pytest.param(name, marks=pytest.mark.skipif(not is_there, reason="no schemathesis"))


@pytest.mark.parametrize("part", [_with_description(name) for name in PARTS])
def test_nothing_that_is_sent_breaks_the_endpoint(target: Target, part: str) -> None:
    before = target.tally.cases
    PARTS[part](target, 60)
    assert target.tally.cases - before >= 20, "conversations are of any length"
    assert not any(status >= 500 for status in target.tally.statuses)


def test_every_route_is_among_the_cases(target: Target) -> None:
    assert len(target.routes) >= 20
    assert ("POST", "/v1/review/{turn_id}/label") in target.routes
    for method, path in (*OTHERS, *(("POST", path) for path in POSTS)):
        target.reach(method, path.replace("{text}", "x"))
    assert target.reached == target.routes


def test_a_rule_that_breaks_is_told_of_however_little_it_says(target: Target) -> None:
    def breaks(target: Target, examples: int) -> None:
        raise AssertionError

    assert "AssertionError" in measured("a part", breaks, target, 1)["broken"]


@pytest.mark.parametrize("table", ["turns", "next_states", "outcomes", "links", "review_labels"])
def test_every_answer_is_checked(target: Target, table: str) -> None:
    rows = target.rows()
    with pytest.raises(BrokenError, match="500 for"):
        target.check(500, rows, "a request")
    with pytest.raises(BrokenError, match="refused with 400"):
        target.check(400, rows | {table: rows[table] - 1}, "a request")


def test_the_description_has_every_route_with_its_methods(target: Target) -> None:
    described = target.client.get("/openapi.json").json()
    served = {
        (route.path_format, method.lower())
        for route in target.app.routes
        for method in route.methods - {"HEAD"}
    }
    listed = {(path, method) for path, item in described["paths"].items() for method in item}
    assert listed == served
    assert len(listed) >= 15
    assert target.client.get("/").json()["paths"]


def test_what_clients_send_in_earnest_is_what_the_description_says(target: Target) -> None:
    described = target.client.get("/openapi.json").json()["paths"]
    for path, body in EXAMPLES.items():
        content = described[path]["post"]["requestBody"]["content"]
        schema = content["application/json"]["schema"]
        assert set(schema["required"]) <= set(body) <= set(schema["properties"])
        answer = target.client.post(path, json=body, headers=target.headers("owner"))
        assert answer.status_code == 200, answer.text


EXAMPLES = {
    "/v1/chat/completions": {
        "model": "policy",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        ],
        "max_tokens": 8,
        "temperature": 0.5,
        "n": 2,
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        ],
    },
    "/v1/responses": {"input": [{"role": "user", "content": "hi"}], "max_output_tokens": 8},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi", "max_tokens": 4, "logprobs": 1},
}
