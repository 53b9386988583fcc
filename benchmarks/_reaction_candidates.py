"""Ways to judge a user's reaction, to be compared: each maps texts to three probabilities.

None of them sees the test set before it is measured; those that learn, learn from the training
rows that ship with clawjax.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clawjax.rewards.encoder import BertEncoder, packaged_encoder_path
from clawjax.rewards.reaction_data import LABELS, Example, compounds
from clawjax.rewards.reaction_model import ReactionModel

__all__ = ["CANDIDATES", "Classify"]

Classify = Callable[[str], NDArray[np.float32]]
"""One message to the probabilities of praise, complaint and neutral."""

_PRAISE = (
    "thank|thanks|thx|ty|cheers|great|good|nice|perfect|excellent|awesome|love|lovely|helpful|"
    "brilliant|amazing|wonderful|exactly|works|worked|clear|correct|right|better|best|useful|"
    "appreciate|appreciated|fantastic|cool|super|solved|fixed|happy|impressed|concise|brief"
)
_COMPLAINT = (
    "long|wrong|incorrect|shorter|wordy|error|errors|useless|bad|terrible|stop|confusing|"
    "confused|boring|mistake|mistakes|broken|fails|failed|crash|crashes|nonsense|misunderstood|"
    "again|rambling|vague|incomplete|forgot|missed|ignored|lists|bullet|bullets|briefer|simpler|"
    "worse|worst|annoying|disappointing|false|unclear|redo|meant|asked|wordy|essay"
)
_WORDS = (re.compile(rf"\b(?:{_PRAISE})\b"), re.compile(rf"\b(?:{_COMPLAINT})\b"))
_NEGATION = re.compile(
    r"\b(?:not|no|never|isn't|wasn't|doesn't|didn't|don't|can't|hardly)\W+\w*\W*$"
)


def lexicon(examples: Sequence[Example]) -> Classify:
    """Counts of praising and complaining words; a negation just before a word turns it over."""

    def classify(text: str) -> NDArray[np.float32]:
        text = text.lower()
        counts = [0.0, 0.0]
        for index, words in enumerate(_WORDS):
            for match in words.finditer(text):
                is_negated = _NEGATION.search(text[: match.start()]) is not None
                counts[1 - index if is_negated else index] += 1
        praise, complaint = counts
        scores = np.asarray([praise, complaint, 0.5 if praise != complaint else 5.0])
        exponents = np.exp(3 * scores)
        return (exponents / exponents.sum()).astype(np.float32)

    return classify


def frozen_encoder(examples: Sequence[Example]) -> Classify:
    """A linear head on the packaged encoder as it is: mean states of its third and fourth layer."""
    encoders = [_shortened(layers) for layers in (3, 4)]

    def features(text: str) -> NDArray[np.float32]:
        return np.concatenate([_unit(encoder.states(text).mean(0)) for encoder in encoders])

    return _probe(features, examples)


def tuned_encoder(examples: Sequence[Example]) -> Classify:
    """The judge that ships: the encoder with low-rank updates and a head trained together."""
    model = ReactionModel.packaged()
    return lambda text: np.asarray(model.classify(text), np.float32)


def policy_probe(examples: Sequence[Example]) -> Classify:
    """A linear head on the frozen policy: mean state after half of SmolLM2-135M's layers."""
    import jax
    import jax.numpy as jnp

    from clawjax.config import ModelConfig
    from clawjax.models.load import load_model
    from clawjax.models.transformer import Transformer, causal_attention

    model = load_model(ModelConfig())
    half = replace(model.architecture, num_layers=model.architecture.num_layers // 2)
    kept = {f"layers_{index}" for index in range(half.num_layers)} | {"embed_tokens", "norm"}
    params = {name: value for name, value in model.params.items() if name in kept}

    @jax.jit
    def mean_state(params: Any, ids: Any, mask: Any) -> Any:
        positions = jnp.arange(ids.shape[1])[None]
        states, _ = Transformer(half).apply(
            {"params": params}, ids, positions, causal_attention(mask)
        )
        return (states * mask[..., None]).sum(1)[0] / mask.sum()

    def features(text: str) -> NDArray[np.float32]:
        ids, mask = _padded(model.tokenizer.encode(text)[:128])
        return _unit(np.asarray(mean_state(params, ids, mask)))

    return _probe(features, examples)


_SHOTS = (
    ("Thanks, just what I was looking for.", "happy"),
    ("This is far too long, nobody reads that.", "unhappy"),
    ("How do I boil rice?", "silent"),
    ("No, that is wrong. What is a llama?", "unhappy"),
    ("Great. Who was Cleopatra?", "happy"),
    ("And what about Greece?", "silent"),
)


def few_shot(examples: Sequence[Example]) -> Classify:
    """The policy as a judge: log-probs of three words after six examples, less their prior."""
    import jax
    import jax.numpy as jnp

    from clawjax.config import ModelConfig
    from clawjax.models.load import load_model
    from clawjax.models.transformer import Transformer, causal_attention

    model = load_model(ModelConfig())
    transformer = Transformer(model.architecture)
    words = [model.tokenizer.encode(f" {word}")[0] for word in ("happy", "unhappy", "silent")]
    head = "Is the user happy, unhappy or silent about the last answer?\n\n" + "".join(
        f"User: {text}\nAbout the last answer: {word}\n\n" for text, word in _SHOTS
    )

    @jax.jit
    def score(params: Any, ids: Any, mask: Any) -> Any:
        positions = jnp.arange(ids.shape[1])[None]
        states, _ = transformer.apply({"params": params}, ids, positions, causal_attention(mask))
        last = states[0, mask.sum() - 1]
        logits = transformer.apply({"params": params}, last[None], method="logits")
        return jax.nn.log_softmax(logits[0])[jnp.asarray(words)]

    def log_probs(text: str) -> NDArray[np.float32]:
        prompt = f"{head}User: {text}\nAbout the last answer:"
        ids, mask = _padded(model.tokenizer.encode(prompt))
        return np.asarray(score(model.params, ids, mask))

    rng = np.random.default_rng(0)
    some = rng.choice(len(examples), 24, replace=False)
    prior = np.mean([log_probs(examples[i].text) for i in some], axis=0)

    def classify(text: str) -> NDArray[np.float32]:
        exponents = np.exp(log_probs(text) - prior)
        return exponents / exponents.sum()

    return classify


CANDIDATES: dict[str, Callable[[Sequence[Example]], Classify]] = {
    "lexicon": lexicon,
    "frozen_encoder": frozen_encoder,
    "policy_probe": policy_probe,
    "few_shot": few_shot,
    "tuned_encoder": tuned_encoder,
}


def _shortened(layers: int) -> BertEncoder:
    """The packaged encoder's first layers: a zero update names the last one that is run."""
    zero = np.zeros((), np.float32)
    return BertEncoder(
        packaged_encoder_path(), updates={f"encoder.layer.{layers - 1}.output.dense.bias": zero}
    )


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _padded(ids: Sequence[int]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """One row, padded to a multiple of 32 so that few shapes are compiled."""
    width = -(-len(ids) // 32) * 32
    row = np.zeros((1, width), np.int32)
    row[0, : len(ids)] = ids
    return row, np.arange(width)[None] < len(ids)


def _probe(features: Callable[[str], NDArray[np.float32]], examples: Sequence[Example]) -> Classify:
    """Multinomial logistic regression on standardised features, with an L2 penalty."""
    from scipy.optimize import minimize

    rows = [*examples, *compounds(examples, 1, np.random.default_rng(0))]
    x = np.stack([features(row.text) for row in rows])
    mean, spread = x.mean(0), (x.std(0) + 1e-6) * np.sqrt(x.shape[1]) / 3
    x = (x - mean) / spread
    y = np.eye(len(LABELS))[[LABELS.index(row.label) for row in rows]]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = flat[:-3].reshape(-1, 3), flat[-3:]
        z = x @ weight + bias
        z -= z.max(1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        penalty = 5e-4 * float((weight**2).sum())
        residual = (p - y) / len(rows)
        gradient = np.concatenate([(x.T @ residual + 1e-3 * weight).ravel(), residual.sum(0)])
        return -float((y * np.log(p + 1e-12)).sum()) / len(rows) + penalty, gradient

    start = np.zeros(x.shape[1] * 3 + 3)
    flat = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    weight, bias = flat[:-3].reshape(-1, 3), flat[-3:]

    def classify(text: str) -> NDArray[np.float32]:
        z = (features(text) - mean) / spread @ weight + bias
        exponents = np.exp(z - z.max())
        return (exponents / exponents.sum()).astype(np.float32)

    return classify
