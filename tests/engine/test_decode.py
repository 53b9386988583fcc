from __future__ import annotations

import numpy as np
import pytest

from clawjax.config import EngineConfig
from clawjax.engine.decode import Decoder, Shape, idle_rows
from clawjax.engine.kv import cache_bytes, new_cache
from clawjax.models.load import LoadedModel


@pytest.mark.parametrize(
    ("context_length", "chunk", "buckets"),
    [(128, 32, [48, 4096]), (100, 32, [16, 64]), (64, 128, [256]), (70, 64, [70]), (65, 12, [33])],
)
def test_every_prompt_fits_the_shapes_that_are_compiled(
    model: LoadedModel, context_length: int, chunk: int, buckets: list[int]
) -> None:
    config = EngineConfig(slots=2, prefill_chunk=chunk, live_buckets=buckets)
    decoder = Decoder(model.architecture, context_length, config)
    ran: list[Shape] = []
    decoder._forward = lambda shape, *arguments: ran.append(shape)  # type: ignore[method-assign]
    decoder._sample = lambda logits, rows: None  # type: ignore[method-assign]
    for total in range(1, context_length):
        start, prompt = 0, np.zeros(total, np.int32)
        while start < total:
            before = start
            start, _ = decoder.prefill(None, prompt, slot=0, start=start, rows=idle_rows(1))
            assert ran[-1].live >= before + ran[-1].size
        decoder.decode(None, prompt, prompt, idle_rows(2), count=1, live=total + 1)
    assert set(ran) <= decoder.shapes()


def test_an_unforeseen_shape_is_an_error(model: LoadedModel, decoder: Decoder) -> None:
    before = decoder.compiled
    assert before == decoder.shapes()
    wrong = idle_rows(1)._replace(top_k=np.zeros(2, np.int32))
    with pytest.raises(TypeError):
        decoder.prefill(model.params, np.ones(3, np.int32), slot=0, start=0, rows=wrong)
    assert decoder.compiled == before


def test_the_cache_has_the_size_it_says(model: LoadedModel) -> None:
    cache = new_cache(model.architecture, rows=2, capacity=16)
    size = sum(buffer.nbytes for layer in cache for buffer in layer)
    assert size == cache_bytes(model.architecture, rows=2, capacity=16)
