"""The rollout benchmark's own arithmetic."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from _tiny_versions import TinyVersions
from _witness import Drawn, Said, Span, Witness, during, unconfirmed
from rollouts import goals

from clawjax.weights import DirectoryWeightStore

ROW = {
    "versions": 10,
    "non_2xx": 0,
    "dropped": 0,
    "tokens_unconfirmed": 0,
    "tokens_mistaken": 0,
    "tokens_while_publishing": 5,
}


def test_a_token_counts_from_when_a_server_has_said_its_version():
    said = [Said(3.0, "b", 1), Said(2.0, "a", 1), Said(9.0, "a", 2)]
    drawn = [Drawn(0.5, 0), Drawn(1.9, 1), Drawn(2.5, 1), Drawn(8.0, 2), Drawn(9.5, 3)]
    assert unconfirmed(drawn, said) == 3


def test_tokens_within_spans_are_counted_once():
    drawn = [Drawn(at, 0) for at in (0.0, 1.0, 1.5, 2.0, 5.0)]
    assert during(drawn, [Span(1.0, 2.0), Span(1.4, 1.6)]) == 3
    assert during(drawn, []) == 0


class Server:
    """Answers as it was told to."""

    url = "http://a"

    def __init__(self, answer):
        self._answer = answer

    async def call(self, method, path, body=None, *, timeout_s):
        return self._answer


@pytest.mark.parametrize(
    ("path", "body", "answer", "expected"),
    [
        ("/get_model_info", None, {"weight_version": "7"}, [7]),
        ("/get_model_info", None, {"weight_version": "default"}, []),
        ("/load_lora_adapter", {"lora_name": "clawjax-000003"}, {"loaded_adapters": {}}, []),
        (
            "/load_lora_adapter",
            {"lora_name": "clawjax-000003"},
            {"loaded_adapters": {"clawjax-000002": "x", "clawjax-000003": "y"}},
            [3],
        ),
        ("/update_weights_from_disk", {"weight_version": "7"}, {"success": True}, []),
    ],
)
async def test_only_what_a_server_says_of_itself_counts(path, body, answer, expected):
    class Courier:
        async def deliver(self, client, weights, on_version, *, is_doubtful):
            return await client.call("POST", path, body, timeout_s=1.0)

        def asked(self):
            raise NotImplementedError

    witness = Witness(clock=lambda: 4.0)
    heard = await witness.courier(Courier()).deliver(
        Server(answer), None, lambda _: None, is_doubtful=False
    )
    assert heard == answer
    assert witness.said == [Said(4.0, "http://a", version) for version in expected]
    assert witness.has_said("http://a", 3) == (3 in expected)


def test_versions_differ_and_are_what_was_published(tmp_path):
    store = DirectoryWeightStore(tmp_path)
    versions = TinyVersions(store, ("full", "adapter"))
    assert [versions.publish(number).kind for number in (1, 2)] == ["full", "adapter"]
    found = [versions._logprobs(number, (5, 6, 7), (8, 9)) for number in range(3)]
    assert all(np.abs(one - other).max() > 0.01 for one, other in pairwise(found))
    again = TinyVersions(store, ("full", "adapter"))
    np.testing.assert_array_equal(again._logprobs(2, (5, 6, 7), (8, 9)), found[2])


@pytest.mark.parametrize(
    "column", [c for c in ROW if c not in ("versions", "tokens_while_publishing")]
)
def test_one_case_that_fails_fails_the_goal(column):
    assert all(goal.met for goal in goals([ROW, ROW]))
    assert [goal.met for goal in goals([ROW, ROW | {column: 1}])].count(False) == 1


@pytest.mark.parametrize(("column", "value"), [("versions", 9), ("tokens_while_publishing", 0)])
def test_the_least_of_all_cases_counts(column, value):
    assert [goal.met for goal in goals([ROW, ROW | {column: value}])].count(False) == 1
