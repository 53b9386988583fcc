from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clawjax.config import EngineConfig
from clawjax.engine.decode import Decoder, Read, Shape
from clawjax.engine.kv import LayerCache, _put, _put_by_row
from clawjax.engine.sampling import Drawn, idle_rows
from clawjax.models.load import LoadedModel


@pytest.mark.parametrize(
    ("context_length", "chunk", "buckets"),
    [(128, 32, [48, 4096]), (100, 32, [16, 64]), (64, 128, [256]), (70, 64, [70]), (65, 12, [33])],
)
def test_every_prompt_fits_the_shapes_that_are_compiled(
    model: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
    context_length: int,
    chunk: int,
    buckets: list[int],
) -> None:
    config = EngineConfig(slots=3, prefill_chunk=chunk, live_buckets=buckets, tokens_per_dispatch=3)
    decoder = Decoder(model.architecture, context_length, config)
    ran: list[Shape] = []

    def forward(shape: Shape, *arguments: object) -> np.ndarray:
        ran.append(shape)
        return np.zeros(0)

    monkeypatch.setattr(decoder, "_forward", forward)
    monkeypatch.setattr(decoder, "_draw", lambda logits, rows, mask: Drawn(*rows[:5]))
    for total in range(1, context_length):
        start, prompt = 0, np.zeros(total, np.int32)
        while start < total:
            before = start
            [start], _ = decoder.prefill(None, [Read(prompt, 0, start)], idle_rows(1))
            assert ran[-1].live >= before + ran[-1].tokens
            short = Read(prompt[: before + 1], 1, before)
            if decoder.reads > 1:
                both = [Read(prompt, 0, before), short]
                done, _ = decoder.prefill(None, both, idle_rows(2))
                assert done == [min(total, before + ran[-1].tokens), before + 1]
        start, fed = 0, np.zeros(3, np.int32)
        while start < total:
            before, read = start, Read(prompt, 2, start)
            start, _ = decoder.mixed(None, fed, fed, idle_rows(3), read, count=3, live=total)
            assert before < start <= total
        decoder.decode(None, prompt, prompt, idle_rows(2), count=1, live=total + 1)
        if total + 3 <= decoder.capacity:
            decoder.decode(None, prompt, prompt, idle_rows(2), count=2, live=total + 3, steps=3)
    assert set(ran) <= decoder.shapes()


@pytest.mark.parametrize(
    ("slots", "sizes"), [(1, {1}), (3, {1, 2, 3}), (8, {1, 4, 8}), (16, {1, 4, 8, 16})]
)
def test_rows_are_compiled_for_in_halves(model: LoadedModel, slots: int, sizes: set[int]) -> None:
    decoder = Decoder(model.architecture, 16, EngineConfig(slots=slots, live_buckets=[16]))
    assert {shape.rows for shape in decoder.shapes() if shape.kind == "decode"} == sizes


def test_an_unforeseen_shape_is_an_error(model: LoadedModel, decoder: Decoder) -> None:
    before = decoder.compiled
    assert before >= decoder.shapes()
    wrong = idle_rows(1)._replace(top_k=np.zeros(1, np.float32))
    with pytest.raises(TypeError):
        decoder.prefill(model.params, [Read(np.ones(3, np.int32), 0, 0)], wrong)
    assert decoder.compiled == before


def test_rows_written_one_by_one_are_those_written_at_once() -> None:
    keys = jax.random.split(jax.random.key(0), 4)
    cache = LayerCache(*(jax.random.normal(key, (4, 2, 8, 3)) for key in keys[:2]))
    k, v = (jax.random.normal(key, (3, 2, 3)) for key in keys[2:])
    rows, places = jnp.arange(3), jnp.array([0, 7, 4])
    at_once, one_by_one = (put(cache, k, v, rows, places) for put in (_put, _put_by_row))
    jax.tree.map(np.testing.assert_array_equal, at_once, one_by_one)


def test_what_is_written_past_the_end_touches_nothing_that_a_row_holds() -> None:
    cache = LayerCache(jnp.zeros((2, 1, 8, 3)), jnp.zeros((2, 1, 8, 3)))
    new = jnp.ones((2, 1, 3))
    for put in (_put, _put_by_row):
        for buffer in put(cache, new, new, jnp.arange(2), jnp.array([8, 11])):
            assert not buffer[:, :, :7].any()  # a row holds fewer tokens than its capacity
