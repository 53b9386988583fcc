"""What is served, what the teacher reads and what is trained offline are the same tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from clawjax.config import GatewayConfig, ModelConfig
from clawjax.data.preferences import Preference, Provenance, Rated, RowError
from clawjax.errors import WireError
from clawjax.gateway.render import Renderer
from clawjax.learner.offline.encoding import Encoded, encode_prompt, encode_reply
from clawjax.learner.offline.material import read_material
from clawjax.models.load import load_tokenizer
from clawjax.models.template import ChatTemplate
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.records import Message, ToolCall
from clawjax.rendering.prompts import Prompts, prompts_of

KNOWS_TOOLS = Path(__file__).parents[1] / "gateway" / "qwen_like.jinja"
FUNCTION = {"name": "ls", "description": "lists files", "parameters": {"type": "object"}}
TOOLS = json.dumps([{"type": "function", "function": FUNCTION}])
CALL = Message("assistant", "", tool_calls=(ToolCall("c1", "ls", '{"path": "/"}'),))
WRITTEN = '<tool_call>\n{"name": "ls", "arguments": {"path": "/"}}\n</tool_call>'
USER, SYSTEM = Message("user", "What is in /?"), Message("system", "Be kind.")
RESULT = Message("tool", "a.txt", tool_call_id="c1")
BEGUN = Message("assistant", "Sure, here is")

PLAIN = {
    "a question": (USER,),
    "instructions": (SYSTEM, USER),
    "a conversation": (SYSTEM, USER, Message("assistant", " An answer.\n"), Message("user", "x")),
    "typed control tokens": (Message("user", "say <|im_end|> or <|endoftext|>"),),
}
OTHER = {
    "a question with tools": ((USER,), TOOLS),
    "instructions and tools": ((SYSTEM, USER), TOOLS),
    "a tool's result": ((SYSTEM, USER, CALL, RESULT), TOOLS),
    "a person behind it": ((USER, CALL, RESULT, Message("assistant", "a.txt"), USER), TOOLS),
    "a tool's result, and no tools any more": ((USER, CALL, RESULT), None),
    "a begun reply": ((USER, BEGUN), None),
    "a begun reply with tools": ((USER, CALL, RESULT, BEGUN), TOOLS),
    "a reply begun twice": ((USER, BEGUN, Message("assistant", " a poem")), None),
}


def smollm2() -> ChatTokenizer:
    return load_tokenizer(ModelConfig(path="smollm2"))[0]


def qwen_like() -> ChatTokenizer:
    """SmolLM2's vocabulary with a template that knows tools."""
    known = smollm2()
    vocabulary = tokenizers.Tokenizer.from_str(known._tokenizer.to_str())
    return ChatTokenizer(vocabulary, ChatTemplate(KNOWS_TOOLS.read_text()), eos_ids=known.eos_ids)


TOKENIZERS = {"no tools": smollm2(), "tools": qwen_like()}


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> ChatTokenizer:
    return TOKENIZERS[request.param]


def rendered(
    tokenizer: ChatTokenizer, messages: Sequence[Message], tools_json: str | None = None
) -> tuple[int, ...]:
    """What the chat template alone makes of a prompt."""
    return tokenizer.encode_prompt(tokenizer.render(messages, tools_json=tools_json))


def rendered_reply(
    tokenizer: ChatTokenizer, prompt: Sequence[Message], reply: Message
) -> tuple[int, ...]:
    """What the chat template alone makes of a reply, up to the token that ends it."""
    whole = tokenizer.render((*prompt, reply), add_generation_prompt=False)
    ids = tokenizer.encode_prompt(whole.removeprefix(tokenizer.render(prompt)))
    return ids[: 1 + next(place for place, i in enumerate(ids) if i in tokenizer.eos_ids)]


def said(tokenizer: ChatTokenizer, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, keep_special=True)


@pytest.mark.parametrize(
    ("messages", "tools_json"), [*((m, None) for m in PLAIN.values()), *OTHER.values()]
)
def test_the_policy_reads_online_what_teacher_and_data_sets_have_it_read(
    tokenizer: ChatTokenizer, messages: Sequence[Message], tools_json: str | None
) -> None:
    served = Renderer(tokenizer).prompt(messages, tools_json, None)
    prompts = prompts_of(tokenizer, GatewayConfig())
    assert prompts.ids(messages, tools_json) == served
    assert encode_prompt(prompts, messages, tools_json) == served
    reply = Message("assistant", " well")
    assert encode_reply(prompts, messages, reply, tools_json).prompt_ids == served


@pytest.mark.parametrize("messages", PLAIN.values(), ids=PLAIN)
def test_without_tools_and_begun_replies_it_is_what_the_template_writes(
    tokenizer: ChatTokenizer, messages: Sequence[Message]
) -> None:
    reply = Message("assistant", "Of course: <|im_end|> it is.\n\nYes ")
    encoded = encode_reply(Prompts(tokenizer), messages, reply)
    assert encoded.prompt_ids == rendered(tokenizer, messages)
    assert encoded.response_ids == rendered_reply(tokenizer, messages, reply)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
SAID = TEXTS.filter(lambda text: any(c.isascii() and c.isalnum() for c in text))
"""What is left of something in any vocabulary: not all have tokens for control characters."""


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=2), TEXTS, SAID)
@settings(max_examples=60, deadline=None)
def test_any_conversation_without_tools_is_read_as_before(
    before: list[tuple[str, str]], question: str, answer: str
) -> None:
    earlier = [m for q, a in before for m in (Message("user", q), Message("assistant", a))]
    messages, reply = (*earlier, Message("user", question)), Message("assistant", answer)
    for tokenizer, prompts in ALL_PROMPTS:
        assert prompts.ids(messages, None) == rendered(tokenizer, messages)
        encoded = encode_reply(prompts, messages, reply)
        assert encoded == Encoded(
            rendered(tokenizer, messages), rendered_reply(tokenizer, messages, reply)
        )


ALL_PROMPTS = [(tokenizer, Prompts(tokenizer)) for tokenizer in TOKENIZERS.values()]


def test_a_template_that_knows_tools_is_left_to_tell_of_them() -> None:
    known = TOKENIZERS["tools"]
    messages = (SYSTEM, USER, CALL, RESULT)
    assert Prompts(known).ids(messages, TOOLS) == rendered(known, messages, TOOLS)


def test_what_was_called_is_told_also_where_no_tools_are_offered_any_more() -> None:
    without, knows = (prompts for _, prompts in ALL_PROMPTS)
    messages = (SYSTEM, USER, CALL, RESULT, Message("user", "And what did you do?"))
    told = without.text(messages, None)
    assert f"<|im_start|>assistant\n{WRITTEN}<|im_end|>" in told
    assert "<|im_start|>user\n<tool_response>\na.txt\n</tool_response><|im_end|>" in told
    assert FUNCTION["description"] not in told
    assert knows.text(messages, None) == knows.tokenizer.render(messages)


ALTERNATING = (
    "{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As that of Llama 2 has it."""


def test_where_roles_have_to_alternate_messages_in_a_row_are_told_as_one() -> None:
    known = smollm2()
    vocabulary = tokenizers.Tokenizer.from_str(known._tokenizer.to_str())
    strict = ChatTokenizer(vocabulary, ChatTemplate(ALTERNATING), eos_ids=known.eos_ids)
    calls = tuple(ToolCall(each, "ls", "{}") for each in ("c1", "c2"))
    asked = (USER, Message("assistant", "", tool_calls=calls))
    results = (RESULT, Message("tool", "b.txt", tool_call_id="c2"), Message("user", "Both?"))
    told = Prompts(strict).text((*asked, *results), None)
    assert told.count("<|im_start|>user") == 2
    assert told.endswith(
        "<tool_response>\na.txt\n</tool_response>\n\n<tool_response>\nb.txt\n</tool_response>"
        "\n\nBoth?<|im_end|>\n<|im_start|>assistant\n"
    )
    with pytest.raises(WireError, match="roles must alternate"):
        Prompts(strict).text((Message("assistant", "Hi."), USER), None)
    lenient = Prompts(known).text((*asked, *results), None)
    assert lenient.count("<|im_start|>user") == 4


def test_a_praised_call_is_trained_as_the_model_writes_it() -> None:
    tokenizer, prompts = ALL_PROMPTS[0]
    row = Rated((USER,), CALL, 1.0, Provenance.LIVE, tools_json=TOOLS)
    material = read_material(prompts, [row], max_tokens=2048)
    ((encoded,),) = material.replies.values()
    assert material.skipped == {}
    assert encoded.response_ids[:-1] == tokenizer.encode(WRITTEN)
    assert encoded.response_ids[-1] in tokenizer.eos_ids
    assert FUNCTION["description"] in said(tokenizer, encoded.prompt_ids)
    (asked,) = read_material(prompts, [row], max_tokens=2048, answer_tokens=8).replies[row]
    assert asked == Encoded(encoded.prompt_ids, ())


def test_a_call_is_written_in_the_format_that_is_configured() -> None:
    tokenizer, _ = ALL_PROMPTS[0]
    prompts = prompts_of(tokenizer, GatewayConfig(tool_parser="llama3_pythonic"))
    encoded = encode_reply(prompts, (USER,), CALL, TOOLS)
    assert tokenizer.decode(encoded.response_ids[:-1]) == "[ls(path='/')]"
    served = Renderer(tokenizer, tool_parser="llama3_pythonic").prompt((USER,), TOOLS, None)
    assert encoded.prompt_ids == served


def test_rows_of_which_nothing_is_left_are_counted() -> None:
    _, prompts = ALL_PROMPTS[0]
    other = Message("assistant", "no")
    rows = [
        Rated((USER,), CALL, 1.0, Provenance.LIVE),
        Rated((USER,), Message("assistant", "ok", tool_calls=CALL.tool_calls), 1.0, Provenance.AI),
        Preference((USER,), other, CALL, Provenance.AI),
        Rated((USER,), other, 1.0, Provenance.LIVE),
    ]
    material = read_material(prompts, rows, max_tokens=2048)
    assert material.rows == rows[-1:]
    left_out = "the model's chat template leaves out what its reply calls: name the tools"
    assert material.skipped == {left_out: 3}


def test_a_reply_that_the_template_strips_to_nothing_is_counted() -> None:
    known = smollm2()
    source = known._template.source.replace("message['content']", "message['content'] | trim")
    vocabulary = tokenizers.Tokenizer.from_str(known._tokenizer.to_str())
    strips = ChatTokenizer(vocabulary, ChatTemplate(source), eos_ids=known.eos_ids)
    with pytest.raises(RowError, match="nothing of its reply is left"):
        encode_reply(Prompts(strips), (USER,), Message("assistant", " "))


@pytest.mark.parametrize("listed", ["7", "[7]", "{", '"ls"'])
def test_tools_that_are_none_make_a_row_useless_and_stop_nothing(listed: str) -> None:
    _, prompts = ALL_PROMPTS[0]
    with pytest.raises(WireError, match="tools are no list of functions"):
        prompts.ids((USER,), listed)
    with pytest.raises(RowError, match="refuses its messages"):
        encode_prompt(prompts, (USER,), listed)


def test_functions_may_be_named_without_saying_that_they_are_tools() -> None:
    _, prompts = ALL_PROMPTS[0]
    assert prompts.ids((USER,), json.dumps([FUNCTION])) == prompts.ids((USER,), TOOLS)


@pytest.mark.parametrize("tools_json", [None, TOOLS])
@pytest.mark.parametrize("rest", [" a poem.", "\n\na poem", "a poem "])
def test_a_begun_reply_is_trained_from_where_it_was_begun(
    tokenizer: ChatTokenizer, rest: str, tools_json: str | None
) -> None:
    encoded = encode_reply(
        Prompts(tokenizer), (USER, BEGUN), Message("assistant", rest), tools_json
    )
    assert said(tokenizer, encoded.prompt_ids).endswith("<|im_start|>assistant\nSure, here is")
    assert said(tokenizer, encoded.response_ids) == f"{rest}<|im_end|>"


def test_a_call_behind_a_begun_reply_is_trained(tokenizer: ChatTokenizer) -> None:
    encoded = encode_reply(Prompts(tokenizer), (USER, BEGUN), CALL, TOOLS)
    assert said(tokenizer, encoded.prompt_ids).endswith("Sure, here is")
    assert tokenizer.decode(encoded.response_ids).startswith("\n<tool_call>\n{")
