"""The model that all contestants have, as tunix's Llama, with tunix's LoRA if wanted."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import qwix
from flax import nnx
from tunix.models.llama3 import model as llama
from tunix.models.llama3.params import create_model_from_safe_tensors

__all__ = ["FOLDER", "configuration", "load", "mesh", "optimizer", "with_lora"]

FOLDER = Path(__file__).parent / "environments" / "model"


def mesh() -> jax.sharding.Mesh:
    """One device, under the axes that tunix's models are laid out along."""
    return jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)


def configuration(folder: Path = FOLDER) -> llama.ModelConfig:
    """The model's, in tunix's words."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return llama.ModelConfig(
        num_layers=config["num_hidden_layers"],
        vocab_size=config["vocab_size"],
        embed_dim=config["hidden_size"],
        hidden_dim=config["intermediate_size"],
        num_heads=config["num_attention_heads"],
        head_dim=config["head_dim"],
        num_kv_heads=config["num_key_value_heads"],
        rope_theta=config["rope_theta"],
        norm_eps=config["rms_norm_eps"],
        weight_tying=config["tie_word_embeddings"],
    )


def load(over: jax.sharding.Mesh | None = None, folder: Path = FOLDER) -> Any:
    """Read the weights in fp32.

    tunix 0.1.7 computes rotary embeddings with a base of 1e6 whatever the configuration says, so
    it is told the right one here: a difference in numbers, none in work.
    """
    config = configuration(folder)
    llama.apply_rope = partial(llama.apply_rope, rope_theta=config.rope_theta)
    return create_model_from_safe_tensors(str(folder), config, over, dtype=jnp.float32)


def with_lora(model: Any, *, rank: int, alpha: float) -> Any:
    """Adapters on all linear layers, as tunix's examples add them."""
    provider = qwix.LoraProvider(
        module_path=".*q_proj|.*k_proj|.*v_proj|.*o_proj|.*gate_proj|.*up_proj|.*down_proj",
        rank=rank,
        alpha=alpha,
    )
    return qwix.apply_lora_to_model(model, provider, rngs=nnx.Rngs(0), **model.get_model_input())


def optimizer(settings: dict[str, Any]) -> optax.GradientTransformation:
    """The optimiser that all contestants have."""
    return optax.chain(
        optax.clip_by_global_norm(settings["max_grad_norm"]),
        optax.adamw(
            settings["learning_rate"],
            b1=settings["beta1"],
            b2=settings["beta2"],
            eps=settings["adam_eps"],
            weight_decay=settings["weight_decay"],
        ),
    )
