"""Trains the reaction model: low-rank updates of the packaged encoder, and a linear head.

Run once by hand, never while serving: `python -m clawjax.rewards.train_reaction`. The same data,
seed and machine give the same file. Everything is learnt from `data/reactions_train.tsv`; a tenth
of it is held out to fit the temperature. The test set is never read: averaging, class weights and
the judge's threshold were chosen on messages of two authors after training on those of two others.
Rank, depth and learning rate were not searched.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from clawjax.rewards.encoder import BertEncoder, packaged_encoder_path
from clawjax.rewards.reaction_data import LABELS, Example, compounds, read_examples, varied
from clawjax.rewards.reaction_model import HEAD_PATH, PROJECTIONS, write_head

__all__ = ["Settings", "Trained", "train"]

logger = logging.getLogger(__name__)

Params = dict[str, Any]

_MASK_ID = 103
"""`[MASK]` in BERT's uncased vocabulary; ids below 1000 are special or unused."""


class Settings(NamedTuple):
    """What the result depends on, besides the data."""

    num_layers: int = 6
    rank: int = 16
    epochs: int = 5
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    dropout: float = 0.1
    token_dropout: float = 0.1
    """Share of tokens replaced by `[MASK]` while training."""
    compound_share: float = 0.5
    """Share of the messages that get a question beside them in an epoch."""
    label_smoothing: float = 0.05
    members: int = 2
    """How many runs, of seeds `seed` and up, are averaged."""
    seed: int = 0


class Trained(NamedTuple):
    """A reaction model and how good it is."""

    params: Params
    """As `init` makes them, `settings.members` times as wide in rank."""
    temperature: float
    """The logits are divided by it before the softmax."""
    agreement: float
    """Share of the held-out messages whose likeliest class is the label."""


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """Normalise the last axis of `x [..., D]` by a `weight` and `bias [D]` (arXiv:1607.06450)."""
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + eps) * weight + bias


def logits(
    params: Params,
    frozen: dict[str, Array],
    ids: Array,
    *,
    settings: Settings,
    heads: int,
    eps: float,
    key: Array | None = None,
) -> Array:
    """Scores of the three classes, `[B, 3]`.

    Args:
        params: as `init` makes them.
        frozen: the encoder's weights by name; kernels `[in, out]`, else `[out]`.
        ids: `[B, T]` int32; 0 is padding.
        settings: how many layers, and dropout of what is pooled.
        heads: of attention, `H`; each has `D / H` dimensions.
        eps: of the layer norms.
        key: of dropout; None drops nothing.
    """
    mask = ids > 0

    def linear(x: Array, name: str) -> Array:
        y = x @ frozen[name + "weight"] + frozen[name + "bias"]
        down, up = params[f"{name}a"], params[f"{name}b"]
        return y + (x @ down) @ up

    def norm(x: Array, name: str) -> Array:
        return layer_norm(x, frozen[name + "weight"], frozen[name + "bias"], eps)

    x = frozen["embeddings.word_embeddings.weight"][ids]
    x = x + frozen["embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = norm(x + frozen["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm.")
    for index in range(settings.num_layers):
        prefix = f"encoder.layer.{index}."
        q, k, v = (
            linear(x, f"{prefix}attention.self.{name}.").reshape(*x.shape[:2], heads, -1)
            for name in ("query", "key", "value")
        )
        scores = jnp.einsum("bthd,bshd->bhts", q, k) / jnp.sqrt(q.shape[-1])
        weights = jax.nn.softmax(jnp.where(mask[:, None, None], scores, -1e9), axis=-1)
        mixed = jnp.einsum("bhts,bshd->bthd", weights, v).reshape(x.shape)
        x = norm(
            x + linear(mixed, prefix + "attention.output.dense."),
            prefix + "attention.output.LayerNorm.",
        )
        wide = jax.nn.gelu(linear(x, prefix + "intermediate.dense."), approximate=False)
        x = norm(x + linear(wide, prefix + "output.dense."), prefix + "output.LayerNorm.")
    pooled = (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    if key is not None:
        keep = jax.random.bernoulli(key, 1 - settings.dropout, pooled.shape)
        pooled = pooled * keep / (1 - settings.dropout)
    return pooled @ params["head.weight"] + params["head.bias"]


def init(frozen: dict[str, Array], settings: Settings, rng: np.random.Generator) -> Params:
    """LoRA factors and a head that change nothing yet (arXiv:2106.09685).

    Returns:
        By name, float32: for each adapted kernel `[in, out]` a random `a [in, rank]` and a zero
        `b [rank, out]`; the zero head `[D, 3]` and its bias `[3]`.
    """
    params: Params = {
        "head.weight": jnp.zeros((frozen["embeddings.LayerNorm.weight"].shape[0], len(LABELS))),
        "head.bias": jnp.zeros(len(LABELS)),
    }
    for index in range(settings.num_layers):
        for projection in PROJECTIONS:
            name = f"encoder.layer.{index}.{projection}."
            fan_in, fan_out = frozen[name + "weight"].shape
            factor = rng.normal(0, fan_in**-0.5, (fan_in, settings.rank))
            params[name + "a"] = jnp.asarray(factor, jnp.float32)
            params[name + "b"] = jnp.zeros((settings.rank, fan_out))
    return params


def _batches(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Indices of rows in shuffled batches of similar `lengths` in tokens; one may be smaller."""
    jitter = np.asarray(lengths) + rng.uniform(0, 6, len(lengths))
    order = np.argsort(jitter, kind="stable")
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    rng.shuffle(batches)
    return batches


def _pad(rows: Sequence[Sequence[int]], size: int) -> np.ndarray:
    """Rows of ids as `[size, T]` int32, T a multiple of 8; missing rows repeat the last."""
    rows = [*rows, *[rows[-1]] * (size - len(rows))]
    width = -(-max(len(row) for row in rows) // 8) * 8
    return np.asarray([[*row, *[0] * (width - len(row))] for row in rows], np.int32)


class _Problem:
    """The encoder's frozen part, the tokenizer, and the two jitted functions."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.encoder = BertEncoder(packaged_encoder_path())
        self.frozen = {name: jnp.asarray(w) for name, w in self.encoder.weights.items()}
        shape = self.encoder.shape
        score = partial(
            logits, settings=settings, heads=shape.num_attention_heads, eps=shape.layer_norm_eps
        )
        self.optimizer: optax.GradientTransformation
        self.score = jax.jit(score)
        self._loss = lambda p, f, ids, y, w, key: jnp.mean(
            w
            * optax.softmax_cross_entropy(
                score(p, f, ids, key=key),
                optax.smooth_labels(jax.nn.one_hot(y, len(LABELS)), settings.label_smoothing),
            )
        )
        self.step = jax.jit(self._step)

    def _step(
        self, params: Params, state: Any, frozen: Any, ids: Array, y: Array, w: Array, key: Array
    ) -> tuple[Params, Any, Array]:
        """One update by `ids [B, T]`, labels `y [B]` and their weights `w [B]`; a loss `[]`."""
        loss, grads = jax.value_and_grad(self._loss)(params, frozen, ids, y, w, key)
        updates, state = self.optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss  # type: ignore[return-value]


def fit(problem: _Problem, examples: Sequence[Example], seed: int) -> Params:
    """Minimise cross-entropy, classes weighing the same, over the examples and compounds.

    Args:
        problem: the encoder; its optimizer is set.
        examples: to learn from.
        seed: of the first weights, batches, compounds and dropout.

    Returns:
        Weights as `init` makes them.
    """
    settings = problem.settings
    rng = np.random.default_rng(seed)
    counts = np.bincount([LABELS.index(row.label) for row in examples], minlength=len(LABELS))
    class_weights = len(examples) / (len(LABELS) * np.maximum(counts, 1))
    steps = settings.epochs * -(-len(examples) // settings.batch)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, max(1, steps // 10), max(2, steps)
    )
    problem.optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=settings.weight_decay)
    )
    params = init(problem.frozen, settings, rng)
    state = problem.optimizer.init(params)
    key = jax.random.key(seed)
    for epoch in range(settings.epochs):
        rows = varied(examples, settings.compound_share, rng)
        tokens = [problem.encoder.token_ids(row.text) for row in rows]
        losses = []
        for chosen in _batches([len(ids) for ids in tokens], settings.batch, rng):
            key, dropout = jax.random.split(key)
            labels = np.zeros(settings.batch, np.int32)
            labels[: len(chosen)] = [LABELS.index(rows[i].label) for i in chosen]
            weights = (np.arange(settings.batch) < len(chosen)) * class_weights[labels]
            ids = _pad([tokens[i] for i in chosen], settings.batch)
            is_masked = (ids > 999) & (rng.random(ids.shape) < settings.token_dropout)
            ids = np.where(is_masked, _MASK_ID, ids)
            params, state, loss = problem.step(
                params, state, problem.frozen, ids, labels, weights.astype(np.float32), dropout
            )
            losses.append(float(loss))
        logger.info("epoch %d: loss %.3f", epoch + 1, np.mean(losses))
    return params


def mean_of(members: Sequence[Params]) -> Params:
    """The model whose weights are the mean of the members' (arXiv:2203.05482).

    A mean of low-rank updates is an update again: the factors side by side, one of them divided.
    """

    def mean(name: str) -> Array:
        tensors = [member[name] for member in members]
        if name.endswith(".a"):
            return jnp.concatenate(tensors, axis=1)
        if name.endswith(".b"):
            return jnp.concatenate(tensors, axis=0) / len(members)
        return jnp.mean(jnp.stack(tensors), axis=0)

    return {name: mean(name) for name in members[0]}


def predict(problem: _Problem, params: Params, texts: Sequence[str]) -> np.ndarray:
    """Logits `[N, 3]` float32 of `N` texts."""
    size = problem.settings.batch
    tokens = [problem.encoder.token_ids(text) for text in texts]
    order = np.argsort([len(ids) for ids in tokens], kind="stable")
    found = np.zeros((len(texts), len(LABELS)), np.float32)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        ids = _pad([tokens[i] for i in chosen], size)
        found[chosen] = np.asarray(problem.score(params, problem.frozen, ids))[: len(chosen)]
    return found


def fit_temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of least cross-entropy on held-out rows (arXiv:1706.04599, sec. 4.2).

    Args:
        scores: logits `[N, 3]`.
        labels: `[N]`, indices of the right classes.
    """
    candidates = np.geomspace(0.5, 5.0, 60)

    def loss(temperature: float) -> float:
        z = scores / temperature
        z = z - z.max(-1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
        return -float(log_p[np.arange(len(labels)), labels].mean())

    return float(min(candidates, key=loss))


def train(
    examples: Sequence[Example], settings: Settings, *, share_held_out: float = 0.1
) -> Trained:
    """Fit on most rows; fit the temperature on the rest and compounds of it."""
    rng = np.random.default_rng(settings.seed + 1)
    is_out = rng.random(len(examples)) < share_held_out
    kept = [example for example, out in zip(examples, is_out, strict=True) if not out]
    rest = [example for example, out in zip(examples, is_out, strict=True) if out]
    problem = _Problem(settings)
    seeds = range(settings.seed, settings.seed + settings.members)
    params = mean_of([fit(problem, kept, seed) for seed in seeds])
    rest = [*rest, *compounds(rest, 1, rng)]
    scores = predict(problem, params, [example.text for example in rest])
    labels = np.asarray([LABELS.index(example.label) for example in rest])
    agreement = float((scores.argmax(-1) == labels).mean())
    return Trained(params, fit_temperature(scores, labels), agreement)


def main() -> None:
    """Train, calibrate and write the file that the package ships."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HEAD_PATH)
    out = parser.parse_args().out
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    trained = train(read_examples(), Settings())
    logger.info("temperature %.2f, agreement %.3f", trained.temperature, trained.agreement)
    params = {name: np.asarray(value) for name, value in trained.params.items()}
    write_head(out, params, trained.temperature)


if __name__ == "__main__":
    main()
