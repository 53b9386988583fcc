"""A short version of the fuzzing benchmark: no 5xx, no hang, no trace of what was refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from _fuzz import BrokenError, Target, fuzzed
from fuzz import PARTS


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with fuzzed(tmp_path_factory.mktemp("fuzzed")) as target:
        yield target


@pytest.mark.parametrize("part", [name for name in PARTS if name != "openapi"])
def test_nothing_that_is_sent_breaks_the_endpoint(target: Target, part: str) -> None:
    before = target.tally.cases
    PARTS[part](target, 60)
    assert target.tally.cases - before >= 20, "conversations are of any length"
    assert not any(status >= 500 for status in target.tally.statuses)


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
