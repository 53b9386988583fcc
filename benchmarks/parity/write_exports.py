"""Write exported models and adapters with their logits, for `check_exports.py` to load elsewhere.

    python benchmarks/parity/write_exports.py --out /tmp/exports

For each model: `merged/` (a whole model), `adapter/` (peft) on top of `base/`, and `expected.npz`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from clawjax.config import LoraConfig, ModelConfig
from clawjax.models.export import export_adapter, export_merged
from clawjax.models.load import load_model
from clawjax.models.lora import init_adapter, join, merge, with_lora
from clawjax.models.transformer import Params, Transformer, causal_attention

MODELS = ("smollm2", "random:llama", "random:qwen2", "random:qwen3")
LENGTH = 32
TEXT = "I'll pay 1,234.50 € — naïve? 你好 😀\n\n  <|im_start|>user  ok<|im_end|>\n"


def main() -> None:
    """Export each model with a random adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", nargs="*", default=MODELS)
    options = parser.parse_args()
    for path in options.models:
        write(path, options.out / Path(path).name.replace(":", "-"))


def write(path: str, directory: Path) -> None:
    """Export one model."""
    model = load_model(ModelConfig(path=path, context_length=64))
    network = Transformer(model.architecture)
    config = LoraConfig(rank=4, alpha=12.0)
    adapter = init_adapter(network, model.params, config, jax.random.key(0))
    adapter = jax.tree.map(lambda leaf: leaf + 0.02 * noise(leaf.shape), adapter)
    export_merged(directory / "base", model, model.params)
    export_merged(directory / "merged", model, merge(model.params, adapter, config))
    export_adapter(directory / "adapter", adapter, config, model.base_id)
    ids = np.random.default_rng(0).integers(3, model.tokenizer.vocab_size, LENGTH)
    expected = {
        "ids": ids,
        "text": np.asarray(TEXT),
        "text_ids": np.asarray(model.tokenizer.encode(TEXT)),
        "base": logits(network, model.params, ids),
        "adapted": logits(with_lora(network, config), join(model.params, adapter), ids),
    }
    np.savez(directory / "expected.npz", **expected)
    print(f"{path}: written to {directory}")


def noise(shape: tuple[int, ...]) -> jax.Array:
    """The same for every leaf of a shape."""
    return jax.random.normal(jax.random.key(1), shape)


def logits(network: Transformer, params: Params, ids: np.ndarray) -> np.ndarray:
    """Scores of one sequence, `[T, V]`."""
    token_ids = jnp.asarray(ids, jnp.int32)[None]
    positions = jnp.arange(len(ids))[None]
    attend = causal_attention(jnp.ones_like(token_ids, bool))
    scores = network.apply({"params": params}, token_ids, positions, attend, method="score")
    return np.asarray(scores)[0]


if __name__ == "__main__":
    main()
