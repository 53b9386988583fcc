"""What is retained: closed questions over HTTP, and the likelihood of a text."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scripted_endpoint import ScriptedEndpoint

from clawjax.config import ModelConfig
from clawjax.errors import EngineError
from clawjax.evals.asking import Asker
from clawjax.evals.material import ClosedQuestion
from clawjax.evals.retention import closed_form_accuracy, nll_per_token
from clawjax.models.load import load_model
from clawjax.models.transformer import Transformer, causal_attention


def test_likelihood_against_whole_logits_window_by_window() -> None:
    model = load_model(ModelConfig(path="random:llama", context_length=64))
    ids = np.random.default_rng(0).integers(0, 200, 700)
    total, count = 0.0, 0
    for window in (ids[:512], ids[512:]):
        row = jnp.asarray(window)[None]
        logits = Transformer(model.architecture).apply(
            {"params": model.params},
            row,
            jnp.arange(len(window))[None],
            causal_attention(jnp.ones_like(row)),
            method="score",
        )
        log_p = np.asarray(jax.nn.log_softmax(jnp.asarray(logits)[0, :-1]))
        total -= log_p[np.arange(len(window) - 1), window[1:]].sum()
        count += len(window) - 1
    actual = nll_per_token(model.architecture, model.params, ids.tolist())
    assert actual == pytest.approx(total / count, rel=1e-4)


async def test_closed_questions_are_side_turns_answered_greedily() -> None:
    questions = [
        ClosedQuestion("Is ice cold?", ("yes",)),
        ClosedQuestion("Is fire cold?", ("no",)),
    ]
    endpoint = ScriptedEndpoint(lambda messages: "Yes, it is.")
    async with endpoint.serving():
        found = await closed_form_accuracy(Asker(endpoint.base_url, "scripted"), questions)
    assert (found.value, found.n) == (0.5, 2)
    assert {headers["x-turn-type"] for headers in endpoint.headers} == {"side"}
    assert {request["temperature"] for request in endpoint.requests} == {0.0}


async def test_a_question_without_reply_is_an_error_not_a_wrong_answer() -> None:
    endpoint = ScriptedEndpoint(lambda messages: "No.", failures=[400])
    async with endpoint.serving():
        with pytest.raises(EngineError, match="evaluation prompt got no reply"):
            await closed_form_accuracy(
                Asker(endpoint.base_url, "scripted"), [ClosedQuestion("Is fire cold?", ("no",))]
            )
