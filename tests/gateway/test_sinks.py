"""What leaves over HTTP, without a server."""

import pytest

from clawjax.config import EngineConfig
from clawjax.gateway.dialects.chat import CHAT
from clawjax.gateway.openai import parse_chat_request
from clawjax.gateway.parse import ReplyDelta
from clawjax.gateway.reply import Exchange
from clawjax.gateway.sinks import JsonSink, StreamSink
from clawjax.records import FinishReason, Message, TurnKind

from .helpers import MODEL


class Said:
    """A reply as sinks see it."""

    choice, tokens, cached_tokens, logprobs = 0, 1, 0, ()
    finish_reason = FinishReason.STOP

    def __init__(self, text: str):
        self.message = Message("assistant", text)


@pytest.mark.parametrize("stream", [False, True])
async def test_half_a_character_in_a_call_is_valid_text_on_the_wire(stream):
    """Models write escapes that JSON allows and UTF-8 does not."""
    sent = []

    async def send(message):
        sent.append(message)

    request = parse_chat_request({"messages": [{"role": "user", "content": "hi"}]}, EngineConfig())
    sink = (
        StreamSink(CHAT, request, lambda _: b"", send, keep_alive_s=1)
        if stream
        else JsonSink(CHAT, request, lambda _: b"", {"type": "http"}, None, send)
    )
    exchange = Exchange(
        response_id="r",
        session_id="s",
        parent_turn_id=None,
        scope="local",
        kind=TurnKind.MAIN,
        model=MODEL,
        messages=request.messages,
        tools_json=None,
        prompt_ids=(1,),
        sampling=request.sampling,
        seed=0,
        arrived_at=0.0,
        choices=1,
        top_logprobs=0,
        priority=0,
        goes_on=False,
    )
    reply = Said("half \ud83d")
    sink.begin(exchange)
    await sink.write(reply, [ReplyDelta(content=reply.message.content)])
    await sink.finish(reply)
    await sink.end([reply])
    body = b"".join(message.get("body", b"") for message in sent)
    assert "half ?" in body.decode()
