import json

import pytest

from clawjax.errors import ConfigError, WireError
from clawjax.models.template import CHATML, ChatTemplate
from clawjax.records import Message, ToolCall

HELLO = [Message("user", "Hello")]


def test_chatml():
    rendered = ChatTemplate(CHATML).render([Message("system", "Be kind."), *HELLO])
    assert rendered == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    bare = ChatTemplate(CHATML).render(HELLO, add_generation_prompt=False)
    assert bare == "<|im_start|>user\nHello<|im_end|>\n"


def test_a_template_sees_exactly_what_is_there():
    template = ChatTemplate(
        "{{ messages | tojson }}|{{ tools is none }}|{{ eos_token }}", {"eos_token": "</s>"}
    )
    messages = [
        Message(
            "assistant", tool_calls=(ToolCall("c1", "f", '{"x": "é<"}'), ToolCall("c2", "g", "{x"))
        ),
        Message("tool", "1", tool_call_id="c1", name="f"),
        Message("assistant", "Two.", reasoning="one and one"),
    ]
    listed, no_tools, eos = template.render(messages).split("|")
    assert (no_tools, eos) == ("True", "</s>")
    assert json.loads(listed) == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": {"x": "é<"}},
                },
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{x"}},
            ],
        },
        {"role": "tool", "content": "1", "tool_call_id": "c1", "name": "f"},
        {"role": "assistant", "content": "Two.", "reasoning_content": "one and one"},
    ]
    assert "é<" in listed


ONE_CALL = """{% for m in messages %}
{%- if m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception('single') }}{% endif %}
{{- m.content }}<{{ m.tool_calls[0].function.name }}>
{%- else %}{{ m.role[0] }}:{{ m.content }} {% endif %}{% endfor %}"""
CALLED = Message(
    "assistant", "Both.", tool_calls=(ToolCall("1", "f", "{}"), ToolCall("2", "g", "{}"))
)


@pytest.mark.parametrize(
    ("results", "told"),
    [
        ([], "u:Hello Both.<f><g>"),
        ([Message("tool", "y", tool_call_id="2"), Message("tool", "x", tool_call_id="1")],
         "u:Hello Both.<f>t:x <g>t:y "),
        ([Message("tool", "z"), Message("user", "?")], "u:Hello Both.<f><g>t:z u:? "),
    ],
)  # fmt: skip
def test_calls_are_told_one_by_one_to_a_template_that_takes_one_at_a_time(results, told):
    messages = [*HELLO, CALLED, *results]
    assert ChatTemplate(ONE_CALL).render(messages, add_generation_prompt=False) == told


def test_a_template_that_takes_no_calls_at_all_says_why():
    template = ChatTemplate("{{ raise_exception('no tools') if messages[1].tool_calls }}")
    with pytest.raises(WireError, match="no tools"):
        template.render([*HELLO, CALLED])


def test_arguments_that_are_json_but_no_object_stay_text():
    template = ChatTemplate("{{ messages[0].tool_calls[0].function.arguments is string }}")
    assert (
        template.render([Message("assistant", tool_calls=(ToolCall("c", "f", "[1]"),))]) == "True"
    )


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[0].content + 1 }}",
        "{{ messages[7].content }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
    ],
)
def test_a_rejected_conversation_is_the_clients_fault(source):
    with pytest.raises(WireError, match="chat template rejects") as caught:
        ChatTemplate(source).render(HELLO)
    assert (caught.value.status, caught.value.param) == (400, "messages")


def test_the_templates_own_words_reach_the_client():
    with pytest.raises(WireError, match="roles must alternate"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}").render(HELLO)


@pytest.mark.parametrize("tools", ["{", "{}", '"x"', "3"])
def test_tools_that_are_no_list(tools):
    with pytest.raises(WireError, match="send a list of function tools") as caught:
        ChatTemplate(CHATML).render(HELLO, tools_json=tools)
    assert caught.value.param == "tools"


def test_a_broken_template_is_a_configuration_error():
    with pytest.raises(ConfigError, match="does not compile"):
        ChatTemplate("{% for %}")


def test_dates_are_available():
    year = ChatTemplate("{{ strftime_now('%Y') }}").render(HELLO)
    assert int(year) >= 2025
