"""Replies drawn in the learner's own process."""

from __future__ import annotations

import pytest

from clawjax.config import EngineConfig
from clawjax.engine import scheduler
from clawjax.learner import sampler
from clawjax.learner.decoder import stack
from clawjax.learner.sampler import Drawn, Sampler
from clawjax.models.load import LoadedModel
from clawjax.protocols import GenerateRequest
from clawjax.records import SamplingParams

ENGINE = EngineConfig(
    kind="embedded", slots=4, kept_prefixes=0, prefill_chunk=32, live_buckets=[64], warm_up=False
)
PROMPTS = (tuple(range(3, 35)), tuple(range(40, 72)))


def request(prompt: int, seed: int) -> GenerateRequest:
    params = SamplingParams(6, temperature=1.0)
    return GenerateRequest(f"{prompt}-{seed}", PROMPTS[prompt], params, seed=seed)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[scheduler.Scheduler]:
    """The schedulers that are made."""
    found: list[scheduler.Scheduler] = []

    class Kept(scheduler.Scheduler):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)  # pyright: ignore[reportArgumentType]
            found.append(self)

    monkeypatch.setattr(sampler, "Scheduler", Kept)
    return found


def test_a_prompt_that_several_have_is_read_once(
    tiny_model: LoadedModel, made: list[scheduler.Scheduler]
) -> None:
    one = Sampler(tiny_model, ENGINE, None)
    params = stack(tiny_model.params)
    asked = [request(prompt, seed) for prompt in (0, 1) for seed in range(4)]
    drawn = one.draw(params, asked)
    assert made[0].prompt_tokens == 8 * 32
    assert made[0].cached_tokens == 6 * 31, "all but the last token, which is read to draw from"
    alone = [one.draw(params, [each])[0] for each in asked]
    assert [reply.token_ids for reply in drawn] == [reply.token_ids for reply in alone]
    assert len({reply.token_ids for reply in drawn[:4]}) > 1
    for reply, other in zip(drawn, alone, strict=True):
        assert reply.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_nothing_is_drawn_for_nobody(tiny_model: LoadedModel) -> None:
    drawn: list[Drawn] = Sampler(tiny_model, ENGINE, None).draw(stack(tiny_model.params), [])
    assert drawn == []
