"""Layers in 16 bits under weights in 32, and what is kept for gradients."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mesh_runs import batch, model_of, samples, settings
from programs import run_program

from clawjax.config import ComputeDtype, ObjectiveConfig, Remat
from clawjax.learner.decoder import Compute, StackedDecoder, stack
from clawjax.learner.scoring import Model, policy_scores
from clawjax.learner.step import TrainStep
from clawjax.models.architecture import Architecture
from clawjax.models.export import tensors_to_params
from clawjax.models.layout import leaves
from clawjax.models.load import LoadedModel
from clawjax.models.tiny import tiny_architecture
from clawjax.models.transformer import Params


@pytest.mark.parametrize("method", ["lora", "full"])
def test_losses_in_bfloat16_are_near_those_in_float32(
    method: str, tiny_model: LoadedModel, tmp_path: Path
) -> None:
    seen = {}
    for dtype in ComputeDtype:
        step = TrainStep(
            tiny_model,
            objective=ObjectiveConfig(kl_coef=0.1),
            learner=settings(method, (1, 1, 1), compute_dtype=dtype),
            failed_dir=tmp_path,
        )
        state, metrics = step.run(step.init(0), [batch(samples())])
        assert {leaf.dtype for leaf in jax.tree.leaves(state.trainable)} == {np.dtype("float32")}
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
        seen[dtype] = metrics
    wide, narrow = seen[ComputeDtype.float32], seen[ComputeDtype.bfloat16]
    assert narrow["train/loss"] == pytest.approx(wide["train/loss"], abs=0.02)
    assert narrow["train/entropy"] == pytest.approx(wide["train/entropy"], rel=0.01)
    assert narrow["train/grad_norm"] == pytest.approx(wide["train/grad_norm"], rel=0.1)
    assert narrow["train/loss"] != wide["train/loss"]  # it did compute in 16 bits
    assert narrow["train/kl"] == pytest.approx(0.0, abs=1e-6)


def test_log_probs_and_gradients_in_bfloat16_are_fp32(tiny_model: LoadedModel) -> None:
    decoder = StackedDecoder(tiny_model.architecture, compute=Compute(dtype=ComputeDtype.bfloat16))
    params = stack(tiny_model.params)
    (micro, *_) = batch(samples()).micro_batches
    inputs = (micro.token_ids, micro.positions, micro.segment_ids)

    def logits(params):
        hidden = decoder.hidden(params, *map(jnp.asarray, inputs))
        return decoder.logits(decoder.head(params), hidden)

    shapes = jax.eval_shape(logits, params)
    slopes = jax.eval_shape(jax.grad(lambda p: jnp.sum(logits(p))), params)
    assert shapes.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(slopes)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_base_kept_in_16_bits_gives_the_same_numbers(family: str, tmp_path: Path) -> None:
    model, narrow = model_of(family), ComputeDtype.bfloat16
    step = TrainStep(
        model,
        objective=ObjectiveConfig(),
        learner=settings("lora", (1, 1, 1), compute_dtype=narrow),
        failed_dir=tmp_path,
    )
    wide = Model(
        StackedDecoder(model.architecture, compute=Compute(dtype=narrow)), stack(model.params)
    )
    (micro, *_) = batch(samples()).micro_batches
    kept, given = (policy_scores(m, micro, is_head_trained=False) for m in (step.base, wide))
    assert step.base.params["layers"]["mlp"]["up_proj"]["kernel"].dtype == jnp.bfloat16
    jax.tree.map(np.testing.assert_array_equal, kept, given)


@pytest.mark.parametrize(
    ("method", "dtype", "kernels"),
    [
        ("lora", ComputeDtype.float32, "float32"),
        ("lora", ComputeDtype.bfloat16, "bfloat16"),
        ("full", ComputeDtype.bfloat16, "float32"),
    ],
)
def test_only_a_base_that_is_never_trained_is_kept_in_16_bits(
    method: str, dtype: ComputeDtype, kernels: str, tiny_model: LoadedModel, tmp_path: Path
) -> None:
    step = TrainStep(
        tiny_model,
        objective=ObjectiveConfig(),
        learner=settings(method, (1, 1, 1), compute_dtype=dtype),
        failed_dir=tmp_path,
    )
    kept = step.base.params
    assert kept["layers"]["self_attn"]["q_proj"]["kernel"].dtype == kernels
    assert kept["embed_tokens"]["embedding"].dtype == kernels
    assert kept["layers"]["input_layernorm"]["weight"].dtype == jnp.float32
    trained = jax.tree.leaves(step.init(0).trainable)
    assert {leaf.dtype for leaf in trained} == {np.dtype("float32")}


def gradient(architecture: Architecture, remat: Remat, params: Params) -> jax.stages.Compiled:
    """Of something that hidden states add up to."""
    decoder = StackedDecoder(architecture, compute=Compute(remat=remat))
    (micro, *_) = batch(samples()).micro_batches
    inputs = tuple(map(jnp.asarray, (micro.token_ids, micro.positions, micro.segment_ids)))

    def loss(params: Params) -> jax.Array:
        return jnp.sum(jnp.sin(decoder.hidden(params, *inputs)))

    return jax.jit(jax.grad(loss)).lower(params).compile()


def test_what_is_kept_changes_no_gradient(tiny_model: LoadedModel) -> None:
    params = stack(tiny_model.params)
    found = [gradient(tiny_model.architecture, remat, params)(params) for remat in Remat]
    for other in found[1:]:
        jax.tree.map(
            lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=1e-4),
            other,
            found[0],
        )


def test_the_less_is_kept_the_more_is_computed() -> None:
    wide = dataclasses.replace(tiny_architecture("llama"), hidden_size=320, intermediate_size=320)
    tensors = {leaf.tensor: np.zeros(leaf.shape, np.float32) for leaf in leaves(wide)}
    params = jax.eval_shape(stack, tensors_to_params(tensors, wide))
    none, dots, full = (
        gradient(wide, remat, params).cost_analysis()["flops"]
        for remat in (Remat.none, Remat.dots, Remat.full)
    )
    assert none < dots < full


def test_precision_is_part_of_what_decoders_share_programs_by(tiny_model: LoadedModel) -> None:
    arch = tiny_model.architecture
    narrow = StackedDecoder(arch, compute=Compute(dtype=ComputeDtype.bfloat16))
    assert narrow != StackedDecoder(arch)
    assert StackedDecoder(arch) == StackedDecoder(arch, compute=Compute())
    assert dataclasses.replace(settings("lora", (1, 1, 1))).compute_dtype is ComputeDtype.float32


@pytest.mark.slow
def test_kernels_and_precision_hold_on_a_mesh() -> None:
    found = run_program("mesh_kernels.py")
    assert found["attention"] < 1e-5
    assert 0 < found["narrow"] < 0.02
