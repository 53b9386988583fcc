"""Bodies that are nested too deeply are refused, wherever they would have been walked through."""

import json

import pytest

from clawjax.errors import WireError
from clawjax.gateway.wire import MOST_NESTED, parse_object

from .helpers import user


def nested(levels: int) -> dict:
    value: dict = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_bodies_may_be_nested_so_deeply_and_no_deeper():
    parse_object(json.dumps(nested(MOST_NESTED)).encode())
    with pytest.raises(WireError, match=f"more than {MOST_NESTED} levels"):
        parse_object(json.dumps(nested(MOST_NESTED + 1)).encode())
    with pytest.raises(WireError, match="nested too deeply"):
        parse_object(b'{"a":' * 50_000 + b"1" + b"}" * 50_000)


async def test_a_tool_and_arguments_that_no_template_can_walk_through_are_a_400(make_gateway):
    gateway = make_gateway()
    function = {"name": "f", "parameters": nested(300)}
    answer = await gateway.chat(user("hi"), tools=[{"type": "function", "function": function}])
    assert answer.status_code == 400
    call = {"id": "c", "function": {"name": "f", "arguments": '{"a":' * 5000 + "1" + "}" * 5000}}
    history = [user("hi"), {"role": "assistant", "tool_calls": [call]}, user("and?")]
    assert (await gateway.chat(*history)).status_code in (200, 400)
    literal = "[{'function': {'name': 'f', 'arguments': {1, 2}}}]"
    history[1] = {"role": "assistant", "content": f"Calling tools:\n{literal}"}
    assert (await gateway.chat(*history)).status_code == 200
    assert (await gateway.chat(user("hi"), headers={"x-priority": "9" * 5000})).status_code == 400


async def test_a_number_that_json_does_not_know_is_refused(make_gateway):
    gateway = make_gateway()
    body = b'{"messages": [{"role": "user", "content": "hi"}], "metadata": {"a": NaN}}'
    answer = await gateway.client.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert "NaN is not JSON" in answer.json()["error"]["message"]
    assert gateway.turns() == []
