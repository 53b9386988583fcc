"""A program for tests: splash attention divided over a mesh, and layers in 16 bits, as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from mesh_runs import batch, model_of, samples

from clawjax.config import AttentionKernel, ComputeDtype, MeshConfig
from clawjax.learner.decoder import Compute, StackedDecoder, stack
from clawjax.learner.scoring import Model, policy_scores
from clawjax.learner.shards import even_rows
from clawjax.models.attention import packed_attention, splash_attention
from clawjax.models.sharding import Placement

LENGTH = 100


def attention_difference(placement: Placement) -> float:
    """Between splash attention on a mesh and plain attention on one device."""
    arch = placement.architecture
    rng = np.random.default_rng(0)
    shapes = [(4, LENGTH, h, arch.head_dim) for h in (arch.num_heads, *[arch.num_kv_heads] * 2)]
    qkv = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]
    segments = np.ones((4, LENGTH), np.int32)
    segments[:, 60:] = 2

    def divided(*qkv: jax.Array) -> jax.Array:
        return splash_attention(jnp.asarray(segments), placement, interpret=True)(*qkv, None)[0]

    plain = packed_attention(AttentionKernel.xla, jnp.asarray(segments), Placement(arch))
    found = jax.jit(divided)(*placement.place_rows(qkv))
    return float(jnp.abs(jnp.asarray(np.asarray(found)) - plain(*qkv, None)[0]).max())


def narrow_difference(placement: Placement) -> Any:
    """Mean |log-prob| difference to fp32 on one device, of layers in 16 bits on a mesh."""
    model = model_of("llama")
    whole = even_rows(batch(samples()), placement.shards).micro_batches[0]

    def logprobs(placement: Placement, dtype: ComputeDtype) -> np.ndarray:
        decoder = StackedDecoder(
            model.architecture, placement=placement, compute=Compute(dtype=dtype)
        )

        def score(params: Any, micro: Any) -> jax.Array:
            scores = policy_scores(Model(decoder, params), micro, is_head_trained=False)
            return placement.whole(scores.logprobs)

        params = placement.place(stack(model.params))
        return np.asarray(jax.jit(score)(params, placement.place_rows(whole)))

    wide = logprobs(Placement(model.architecture), ComputeDtype.float32)
    narrow = logprobs(placement, ComputeDtype.bfloat16)
    return float(np.abs(narrow - wide)[whole.response_mask].mean())


if __name__ == "__main__":
    placement = Placement.of(MeshConfig(2, 2, 2), model_of("llama").architecture)
    found = {
        "attention": attention_difference(placement),
        "narrow": narrow_difference(placement),
    }
    json.dump(found, sys.stdout)
