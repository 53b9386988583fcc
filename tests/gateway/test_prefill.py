"""A last message of the assistant's is the beginning of the reply."""

from dataclasses import astuple

import pytest

from clawjax.gateway.render import Renderer
from clawjax.linking.reading import prefill_of
from clawjax.models.template import CHATML, ChatTemplate
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.records import FinishReason, Message, ToolCall

from .helpers import assistant, user

HEAD = (Message("system", "s"), Message("user", "hi"))
TOOLS = [{"type": "function", "function": {"name": "ls"}}]
THINKS = CHATML.replace(
    "<|im_start|>assistant\n{% endif", "<|im_start|>assistant\n<think>\n{% endif"
)


def begun(text: str, reasoning: str | None = None) -> tuple[Message, ...]:
    return (*HEAD, Message("assistant", text, reasoning=reasoning))


@pytest.mark.parametrize("text", ["Once", " upon ", "", "Ünïcode\n\n"])
def test_the_prompt_stops_behind_the_text(tokenizer, text):
    renderer = Renderer(tokenizer)
    before = renderer.prompt(HEAD, None, None)
    prompt = renderer.prompt(begun(text), None, None)
    assert prompt[: len(before)] == before
    assert tokenizer.decode(prompt[len(before) :], keep_special=True) == text


def test_control_tokens_in_the_text_stay_text(tokenizer):
    renderer = Renderer(tokenizer)
    end = min(tokenizer.eos_ids)
    before = renderer.prompt(HEAD, None, None)
    behind = renderer.prompt(begun(tokenizer.special_text(end)), None, None)[len(before) :]
    assert end not in behind
    assert len(behind) > 1


def test_a_thought_that_the_template_opens_is_closed_before_the_text(tokenizer):
    thinking = ChatTokenizer(tokenizer._tokenizer, ChatTemplate(THINKS), eos_ids=tokenizer.eos_ids)
    prompt = Renderer(thinking).prompt(begun("Yes", "hm"), None, None)
    said = thinking.decode(prompt, keep_special=True)
    assert said.endswith("assistant\n<think>\nhm\n</think>\n\nYes")


def test_a_call_is_no_beginning():
    call = Message("assistant", "x", tool_calls=(ToolCall("c", "ls", "{}"),))
    assert prefill_of((*HEAD, call)) is None
    assert prefill_of(HEAD) is None
    assert prefill_of(begun("")) == ""
    assert prefill_of(()) is None


@pytest.mark.parametrize("texts", [("Once",), ("",), ("Once", " upon")])
async def test_a_beginning_with_nothing_before_it_is_refused(make_gateway, texts):
    gateway = make_gateway(["never sent"])
    response = await gateway.chat(*map(assistant, texts))
    assert response.status_code == 400
    assert "put a user's message before it" in response.json()["error"]["message"]
    assert not gateway.turns()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_reply_goes_on_from_the_text(make_gateway, qwen_tokenizer, stream):
    """Its first space is its own, also where the parser looks for tags."""
    gateway = make_gateway([" upon a time", "ok"], with_tokenizer=qwen_tokenizer)
    history = [user("tell"), assistant("Once")]
    response = await gateway.chat(*history, stream=stream)
    assert '"content":" upon a time"' in response.text or stream
    (turn,) = gateway.turns()
    assert turn.reply.content == " upon a time"
    text = qwen_tokenizer.decode(turn.prompt_ids, keep_special=True)
    assert text.endswith("<|im_start|>assistant\nOnce")


@pytest.mark.parametrize("begun", [["Once"], [""], []])
async def test_a_reply_that_goes_on_keeps_its_first_space(make_gateway, spacing_tokenizer, begun):
    gateway = make_gateway(["upon"], with_tokenizer=spacing_tokenizer)
    said = await gateway.say(user("tell"), *map(assistant, begun))
    expected = " upon" if begun == ["Once"] else "upon"
    assert said["choices"][0]["message"]["content"] == expected
    (turn,) = gateway.turns()
    assert turn.reply.content == expected


@pytest.mark.parametrize("begun", ["A tag: <", "Once <tool_call", "<tool_call>\n{"])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_may_become_a_call_and_does_not_is_not_given_again(
    make_gateway, qwen_tokenizer, begun, stream
):
    gateway = make_gateway(["b> is bold"], with_tokenizer=qwen_tokenizer)
    await gateway.chat(user("tell"), assistant(begun), tools=TOOLS, stream=stream)
    (turn,) = gateway.turns()
    assert turn.reply.content == "b> is bold"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_space_within_the_begun_arguments_is_kept(make_gateway, qwen_tokenizer, stream):
    begun = '<tool_call>{"name": "ls", "arguments": {"path": "my '
    gateway = make_gateway(['files"}}</tool_call>'], with_tokenizer=qwen_tokenizer)
    await gateway.chat(user("look"), assistant(begun), tools=TOOLS, stream=stream)
    (turn,) = gateway.turns()
    ((_, _, arguments),) = map(astuple, turn.reply.tool_calls)
    assert arguments == '{"path": "my files"}'


@pytest.mark.parametrize("at", [19, 38, 44])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_may_have_been_begun(make_gateway, qwen_tokenizer, at, stream):
    """Its name and arguments are given whole, though the client has their beginning."""
    call = '<tool_call>{"name": "ls", "arguments": {"path": "/"}}</tool_call>'
    gateway = make_gateway([call[at:]], with_tokenizer=qwen_tokenizer)
    response = await gateway.chat(
        user("look"), assistant(call[:at]), tools=TOOLS, tool_choice="required", stream=stream
    )
    assert '"name":"ls"' in response.text
    (turn,) = gateway.turns()
    assert turn.finish_reason is FinishReason.TOOL_CALLS
    ((_, name, arguments),) = map(astuple, turn.reply.tool_calls)
    assert (name, arguments) == ("ls", '{"path": "/"}')
    assert turn.reply.content == ""
    assert turn.sampling.grammar is None  # it fits whole replies


async def test_a_beginning_can_follow_a_known_reply(make_gateway):
    gateway = make_gateway(["one", " more"])
    await gateway.say(user("a"))
    await gateway.say(user("a"), assistant("one"), user("b"), assistant("And"))
    first, second = gateway.turns()
    whole = first.prompt_ids + first.response_ids
    assert second.parent_turn_id == first.turn_id
    assert second.prompt_ids[: len(whole)] == whole


@pytest.mark.parametrize("begun", ["Once", "Once ", ""])
@pytest.mark.parametrize("is_restarted", [False, True])
async def test_beginning_and_reply_may_come_back_as_one(make_gateway, begun, is_restarted):
    gateway = make_gateway(["upon a time", "ok"])
    history = [user("tell"), assistant(begun)]
    await gateway.say(*history)
    if is_restarted:
        gateway = make_gateway(["ok"])
        await gateway.collector.rebuild()
    await gateway.say(user("tell"), assistant(f"{begun}upon a time"), user("more!"))
    first, second = gateway.turns()
    assert second.parent_turn_id == first.turn_id
    assert second.session_id == first.session_id
    whole = first.prompt_ids + first.response_ids
    assert second.prompt_ids[: len(whole)] == whole
    (reaction,) = gateway.events(first.turn_id)
    assert [message.content for message in reaction.messages] == ["more!"]
    assert not gateway.events(second.turn_id)


async def test_another_reply_behind_the_same_beginning_is_not_taken_for_ours(make_gateway):
    gateway = make_gateway(["upon a time", "ok"])
    await gateway.say(user("tell"), assistant("Once"))
    await gateway.say(user("tell"), assistant("Once more"), user("more!"))
    first, second = gateway.turns()
    assert second.parent_turn_id is None
    assert not gateway.events(first.turn_id)
