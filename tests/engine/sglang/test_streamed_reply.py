"""A reply's text, made of what servers draw."""

import pytest

from clawjax.engine.sglang.logprobs import LogprobsOf
from clawjax.engine.sglang.reply import StreamedReply
from clawjax.engine.sglang.wire import End, Piece
from clawjax.protocols import GenerateRequest
from clawjax.records import FinishReason, SamplingParams


@pytest.mark.parametrize(("goes_on", "text"), [(False, "upon"), (True, " upon")])
def test_a_reply_that_goes_on_keeps_its_first_space(spacing_tokenizer, goes_on, text):
    once, upon = (spacing_tokenizer.encode(word) for word in ("Once", "upon"))
    request = GenerateRequest("r", once, SamplingParams(8), seed=0, goes_on=goes_on)
    reply = StreamedReply(request, 8, spacing_tokenizer)
    piece = Piece(upon, (-1.0,), (), End(FinishReason.LENGTH), 0, ("1",))
    chunk = reply.add(piece, versions=(1,), of=LogprobsOf.SCALED)
    assert chunk is not None
    assert chunk.text == text
