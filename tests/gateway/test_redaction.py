"""What is blanked out, what is not, and that nothing that is logged spells it."""

import json
import time
from dataclasses import replace

import httpx
import pytest

from clawjax.config import GatewayConfig, LimitsConfig
from clawjax.errors import ConfigError, LogError
from clawjax.gateway.redacting import RedactingLog
from clawjax.gateway.redaction import RULES, Redactor
from clawjax.log.forgetting import forget
from clawjax.records import DropReason, Message, ToolCall

from .helpers import assistant, user

ALL = list(RULES)
PEM = "-----BEGIN {}PRIVATE " + "KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("write to ann.lee+x@mail.example.org, please", "write to [email], please"),
        ("call +49 (0)30 1234567 now", "call [phone] now"),
        ("call (555) 010-1234 or 555-010-1234", "call [phone] or [phone]"),
        ("Tel. 030 1234567.", "Tel. [phone]."),
        ("pay with 4111 1111 1111 1111!", "pay with [card]!"),
        ("5500-0000-0000-0004", "[card]"),
        ("378282246310005", "[card]"),
        ("key=sk-proj-abcdefghijklmnop1234", "key=[key]"),
        ("AKIA" + "IOSFODNN7EXAMPLE and ghp_" + "a" * 36, "[key] and [key]"),
        (f"bearer {JWT}", "bearer [key]"),
        (f"{PEM.format('RSA ')}\nMII\n-----END RSA PRIVATE KEY-----\nx", "[key]\nx"),
        (f"{PEM.format('')}\nMII", "[key]"),
    ],
)
def test_what_is_blanked_out(text, clean):
    assert Redactor(ALL).text(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "a @ b, user@host, @name, 3.14@2",
        "on 2026-11-26 at 10:45, version 1.2.3, 192.168.100.200",
        "order 4111 1111 1111 1112",
        "at 1764195555123 ms",
        "x = 12345678901234567890123",
        "chapters 10-20, pages 100-200, 1,000,000",
        "task-sk-1 and sk-short; ask-me-anything-about-it-please",
        "0.1234 5678 9012",
        "2^31 = 2147483648",
    ],
)
def test_what_is_left_alone(text):
    assert Redactor(ALL).text(text) == text


@pytest.mark.parametrize("piece", ["a", "a@", "a.", "1", "1 ", "+1", "eyJ", "-----BEGIN ", "sk-a"])
def test_rules_take_time_in_proportion_to_the_text(piece):
    redactor = Redactor(ALL)
    took = []
    for size in (20_000, 200_000):
        text = piece * (size // len(piece))
        began = time.process_time()
        redactor.text(text)
        took.append(time.process_time() - began)
    assert took[1] < 40 * max(took[0], 0.005), took


async def test_no_byte_of_what_is_blanked_out_is_logged_and_it_is_not_trained_on(
    make_gateway, tmp_path
):
    secret = "ann@example.org"
    gateway = make_gateway([f"is {secret} yours?"], config={"redact": ALL})
    tools = [{"type": "function", "function": {"name": "f", "description": secret}}]
    said = await gateway.say(user(f"I am {secret}"), tools=tools)
    reply = said["choices"][0]["message"]["content"]
    assert secret in reply, "the client gets what was said"
    await gateway.say(user(f"I am {secret}"), assistant(reply), user(f"no, x{secret}"), tools=tools)
    body = {"response_id": said["id"], "text": f"never say {secret}"}
    assert (await gateway.client.post("/v1/feedback", json=body)).status_code == 200
    first, second = gateway.turns()
    assert first.messages[0].content == "I am [email]"
    assert first.reply.content == "is [email] yours?"
    assert json.loads(first.tools_json)[0]["function"]["description"] == "[email]"
    assert first.prompt_ids == first.response_ids == first.sampler_logprobs == ()
    assert gateway.log.outcome(first.turn_id).drop_reason is DropReason.REDACTED
    assert second.parent_turn_id == first.turn_id, "recognised by what was said, not what is kept"
    assert len(gateway.events(first.turn_id)) == 2
    gateway.log.overwrite()
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"ann@example" not in stored


def calls(arguments: str, call_id: str = "c1") -> list[dict]:
    """A call and its result."""
    call = {"type": "function", "function": {"name": "send", "arguments": arguments}}
    return [
        {**assistant(""), "tool_calls": [{"id": call_id, **call}]},
        {"role": "tool", "tool_call_id": call_id, "content": "ok"},
    ]


@pytest.mark.parametrize(
    ("arguments", "call_id"),
    [
        ('{"to":"ann@example.org","to":"x"}', "c1"),
        (r'{"to":"ann\u0040example.org","to":"x"}', "c1"),
        ('{"a":{"to":["ann@example.org"],"to":1},"a":{"to":1}}', "c1"),
        ('{"to":"x"}', "ann@example.org"),
    ],
)
async def test_no_part_of_a_call_is_passed_over(make_gateway, tmp_path, arguments, call_id):
    gateway = make_gateway(config={"redact": ALL})
    await gateway.say(user("hi"), *calls(arguments, call_id), user("thanks"))
    (turn,) = gateway.turns()
    assert gateway.log.outcome(turn.turn_id).drop_reason is DropReason.REDACTED
    assert turn.prompt_ids == turn.response_ids == ()
    gateway.log.overwrite()
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"example.org" not in stored
    assert turn.messages[1].tool_calls[0].call_id == turn.messages[2].tool_call_id


@pytest.mark.parametrize(
    "arguments",
    [
        '{"to":"x","to":"y"}',
        r'{"text": "import app\n@app.route(1)"}',
        '{"x": 0.1234567890123456, "y": 4.1e15, "z": -0}',
    ],
)
async def test_calls_without_secrets_are_kept_as_they_were_written(make_gateway, arguments):
    gateway = make_gateway(config={"redact": ALL})
    await gateway.say(user("hi"), *calls(arguments), user("thanks"))
    (turn,) = gateway.turns()
    assert turn.messages[1].tool_calls[0] == ToolCall("c1", "send", arguments)
    assert turn.messages[2] == Message("tool", "ok", tool_call_id="c1")
    assert turn.response_ids
    assert gateway.log.outcome(turn.turn_id) is None


async def test_tools_without_secrets_are_kept_as_they_were_written(make_gateway):
    gateway = make_gateway(config={"redact": ALL})
    function = {"name": "f", "description": "Finds lines such as\n@app.route(1)."}
    await gateway.say(user("hi"), tools=[{"type": "function", "function": function}])
    (turn,) = gateway.turns()
    assert turn.prompt_ids
    assert turn.response_ids


@pytest.mark.parametrize("said", ["ann@example.org", r"in C:\nick@example.org", "a\nann@b.org"])
async def test_tokens_that_say_more_than_texts_are_not_kept_beside_calls(
    make_gateway, tokenizer, said
):
    gateway = make_gateway(config={"redact": ALL})
    await gateway.say(user("hi"), *calls('{"text": "x"}'), user("thanks"))
    (turn,) = gateway.turns()
    turn = replace(turn, prompt_ids=tuple(tokenizer.encode(json.dumps({"text": said}))))
    assert Redactor(ALL, tokenizer.piece).turn(turn).prompt_ids == ()
    assert Redactor([], tokenizer.piece).turn(turn).prompt_ids == turn.prompt_ids


async def test_a_number_with_more_digits_than_it_can_hold_is_read_as_written(make_gateway):
    gateway = make_gateway(config={"redact": ALL})
    await gateway.say(user("hi"), *calls('{"card": 6304000000000000000.0}'), user("thanks"))
    (turn,) = gateway.turns()
    assert turn.messages[1].tool_calls[0].arguments == '{"card":"[card].0"}'


async def test_a_turn_without_secrets_is_kept_as_it_is(make_gateway):
    gateway = make_gateway(config={"redact": ALL})
    await gateway.say(user("hi"))
    (turn,) = gateway.turns()
    assert len(turn.response_ids) == len(turn.sampler_logprobs) > 0
    assert gateway.log.outcome(turn.turn_id) is None


async def test_a_prompt_of_token_ids_is_read_too(make_gateway, tokenizer):
    gateway = make_gateway(config={"redact": ALL})
    ids = list(tokenizer.encode("I am ann@example.org"))
    answer = await gateway.client.post("/v1/completions", json={"prompt": ids, "max_tokens": 20})
    assert answer.status_code == 200, answer.text
    (turn,) = gateway.turns()
    assert turn.prompt_ids == ()


async def test_a_previous_response_is_gone_on_from_as_it_was_said(make_gateway, tokenizer):
    gateway = make_gateway(["it is ann@example.org", "ann@example.org"], config={"redact": ALL})

    async def create(**body) -> httpx.Response:
        return await gateway.client.post("/v1/responses", json=body)

    first = (await create(input="my mail is ann@example.org")).json()
    second = await create(input="what is my mail?", previous_response_id=first["id"])
    assert second.status_code == 200, second.text
    asked, answered = gateway.turns()
    assert answered.messages[0].content == "my mail is [email]", "it is not logged"
    assert (answered.session_id, answered.parent_turn_id) == (asked.session_id, asked.turn_id)
    prompt = tokenizer.decode(gateway.engine.requests[-1].prompt_ids)
    assert prompt.count("ann@example.org") == 2
    path = f"/v1/responses/{first['id']}"
    assert "[email]" in (await gateway.client.get(path)).text
    assert (await gateway.client.delete(path)).status_code == 200
    assert (await create(input="and?", previous_response_id=first["id"])).status_code == 404


async def test_what_was_said_is_remembered_in_a_bounded_amount_until_it_is_forgotten(gateway):
    await gateway.say(user("I am ann@example.org"))
    (turn,) = gateway.turns()
    length = len(turn.messages[0].content) + len(turn.reply.content)
    redacting = RedactingLog(gateway.log, Redactor(ALL), max_characters=2 * length)
    for name in "abc":
        redacting.append(replace(turn, turn_id=name, response_id=name))

    def remembered() -> list[str]:
        logged = [redacting.get(name).turn for name in "abc"]
        return [one.turn_id for one in logged if redacting.as_said(one).messages == turn.messages]

    assert remembered() == ["b", "c"]
    forget(gateway.log, scope=turn.scope, response_id="b", now=turn.finished_at)
    found = redacting.forgotten(after=0)
    assert [turn_id for _, turn_id in found] == ["b"]
    assert redacting.as_said(replace(turn, turn_id="b", messages=())).messages == ()
    assert redacting.as_said(replace(turn, turn_id="c", messages=())).messages == turn.messages


async def test_it_goes_on_after_a_restart(make_gateway):
    config = {"redact": ALL}
    gateway = make_gateway(["hello"], config=config)
    body = {"tools": [{"type": "function", "function": {"name": "f", "description": "a@b.org"}}]}
    await gateway.say(user("I am a@b.org"), headers={"x-session-id": "s"}, **body)
    again = make_gateway(["bye"], config=config)
    await again.collector.rebuild()
    history = [user("I am a@b.org"), assistant("hello"), user("and?")]
    await again.say(*history, headers={"x-session-id": "s"}, **body)
    assert [turn.session_id for turn in again.turns()] == ["s", "s"]


@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        ("I am a@b.org", "hello"),
        ("who am I?", "<think>a@b.org it is</think>\n\nhello"),
    ],
)
async def test_a_prompt_after_a_restart_has_all_that_was_said(
    make_gateway, qwen_tokenizer, asked, reply
):
    options = {"config": {"redact": ALL}, "with_tokenizer": qwen_tokenizer}
    gateway = make_gateway([reply], **options)
    first = await gateway.client.post("/v1/responses", json={"input": asked})
    (turn,) = gateway.turns()
    assert turn.prompt_ids == (), "it was redacted"
    again = make_gateway(["bye"], **options)
    await again.collector.rebuild()
    body = {"input": "and now?", "previous_response_id": first.json()["id"]}
    second = await again.client.post("/v1/responses", json=body)
    assert second.status_code == 200, second.text
    prompt = qwen_tokenizer.decode(again.engine.requests[-1].prompt_ids, keep_special=True)
    told = [turn.messages[0].content, "hello", "and now?"]
    assert [prompt.count(text) for text in told] == [1, 1, 1], prompt
    assert again.turns()[-1].parent_turn_id == turn.turn_id


def shout(text: str) -> str:
    return text.replace("secret", "[x]")


def fail(text: str) -> str:
    raise RuntimeError(text)


def test_a_rule_of_ones_own():
    assert Redactor([f"{__name__}:shout"]).text("a secret") == "a [x]"
    with pytest.raises(LogError, match="nothing is logged") as caught:
        Redactor([f"{__name__}:fail"]).text("a secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("rules.of.mine.shout", "or rules.of.mine:shout for a function"),
        (r"\d{4}", "a regular expression has to stand in such a function"),
        ("emails", "use email, key, card, phone, or package.module:function"),
    ],
)
def test_how_a_rule_of_ones_own_is_named_is_told_who_named_it_otherwise(name, fix):
    with pytest.raises(ConfigError) as caught:
        Redactor([name])
    assert fix in str(caught.value)


@pytest.mark.parametrize("name", ["emails", "no.such:thing", f"{__name__}:ALL"])
def test_a_rule_that_is_none_is_refused(name):
    with pytest.raises(ConfigError, match=r"gateway\.redact"):
        Redactor([name])


MAIL = "write to ada@example.com"


@pytest.mark.parametrize(
    ("config", "is_kept"),
    [
        ({"host": "0.0.0.0"}, False),
        ({"host": "::"}, False),
        ({"host": "0.0.0.0", "redact": []}, True),
        ({"host": "127.0.0.1"}, True),
        ({}, True),
        ({"host": "127.0.0.1", "redact": ALL}, False),
    ],
)
async def test_what_others_can_reach_redacts_by_default(make_gateway, config, is_kept):
    gateway = make_gateway(api_key="secret", config=config)
    await gateway.say(user(MAIL), headers={"authorization": "Bearer secret"})
    (turn,) = gateway.turns()
    assert (MAIL in str(turn.messages)) is is_kept
    assert ("[email]" in str(turn.messages)) is not is_kept


def test_keys_that_others_hold_have_a_limit_by_default():
    assert GatewayConfig(host="0.0.0.0").max_requests_per_key == 64
    assert GatewayConfig().max_requests_per_key is None
    given = LimitsConfig(max_requests_per_key=2)
    assert GatewayConfig(host="0.0.0.0", limits=given).max_requests_per_key == 2
    assert GatewayConfig(limits=given).max_requests_per_key == 2
