"""A plan beside the training step itself: weights and moments to the byte, the rest within 25 %."""

import dataclasses
from itertools import product

import jax
import pytest
from abstract_step import abstract_step, size_of
from plan_configs import load

from clawjax.config import AttentionKernel, ComputeDtype, LearnerConfig, ModelConfig
from clawjax.errors import ConfigError
from clawjax.learner import decoder, logprobs
from clawjax.learner.step import TrainStep
from clawjax.models import attention
from clawjax.models.load import load_model
from clawjax.plan import activations, find_architecture, known_models
from clawjax.plan.activations import is_fused
from clawjax.plan.learner import learner_share, optimizer_bytes

MODELS = ["random:llama", "random:qwen2", "random:qwen3", "smollm2", "Qwen/Qwen3-32B"]
FACTOR = 1.25
COPY_4B, COPY_8B = (2 * size / 2**30 for size in (4.02e9, 8.19e9))
"""GiB of the base in 16 bits."""
QWEN3_8B = dataclasses.replace(
    known_models()["Qwen/Qwen3-4B"], hidden_size=4096, intermediate_size=12_288, is_tied=False
)
EIGHT_B = (
    "model=qwen3_4b",
    "engine=sglang_launch",
    "hardware=tpu_v5e_8",
    "learner.compute_dtype=bfloat16",
    "learner.micro_batch_tokens=4096",
)
LONG = (
    *EIGHT_B[:-1],
    "learner.micro_batch_tokens=32768",
    "learner.max_tokens=32768",
    "learner.length_buckets=[32768]",
    "learner.remat=full",
    "model.context_length=32768",
)


def parts_of(config):
    share = learner_share(find_architecture(config.model), config)
    return {part.name: part.size for part in share.parts}


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("path", MODELS)
def test_weights_and_moments_are_planned_to_the_byte(path, method):
    config = load(f"model.path={path}", f"learner={method}")
    parts = parts_of(config)
    step = abstract_step(find_architecture(config.model), config.learner)
    assert parts["base weights"] == size_of(step.base)
    assert parts["trained weights"] == size_of(step.state.trainable)
    assert parts["optimizer state"] == size_of(step.state.opt_state)


def test_real_arrays_are_of_the_planned_size(tmp_path):
    config = load("model=tiny", "learner=tiny", "learner.warmup_steps=3")
    step = TrainStep(
        load_model(ModelConfig(path="random:llama", context_length=1024)),
        objective=config.objective,
        learner=config.learner,
        failed_dir=tmp_path,
    )
    state, parts = step.init(0), parts_of(config)
    assert parts["trained weights"] == sum(leaf.nbytes for leaf in jax.tree.leaves(state.trainable))
    assert parts["optimizer state"] == sum(leaf.nbytes for leaf in jax.tree.leaves(state.opt_state))
    assert parts["base weights"] == sum(leaf.nbytes for leaf in jax.tree.leaves(step.base.params))


def test_a_schedule_has_a_count_of_its_own():
    assert optimizer_bytes(10, warmup_steps=5) == optimizer_bytes(10, warmup_steps=0) + 4


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_base_that_is_only_read_is_planned_in_the_precision_it_is_read_in(method):
    for path in MODELS[:3]:
        half = ("learner.compute_dtype=bfloat16", f"model.path={path}")
        config = load(f"learner={method}", *half)
        step = abstract_step(find_architecture(config.model), config.learner)
        assert parts_of(config)["base weights"] == size_of(step.base)


@pytest.mark.parametrize(
    ("overrides", "needed"),
    [  # as XLA's compiler for TPUs (jax 0.10.2) says, GiB of arguments and temporaries
        pytest.param(("experiment=tpu_v5e_8",), 3.87 + 5.48 - 2 * COPY_4B / 4, id="v5e, tensor=4"),
        pytest.param(
            (*LONG, "learner.mesh.tensor=8"), 4.0 + 16.58 - 2 * COPY_8B / 8, id="v5e, long"
        ),
        pytest.param(
            (*LONG, "learner.mesh.tensor=8"), 4.0 + 18.6 - 2 * COPY_8B / 8, id="v5p, long"
        ),
        pytest.param(
            (*EIGHT_B, "learner.mesh.fsdp=8"), 4.03 + 8.50 - 2 * COPY_8B / 8, id="v5e, fsdp=8"
        ),
    ],
)
def test_what_the_compiler_for_tpus_needs_is_planned_for(overrides, needed):
    """The compiled steps had a base in fp32 and a copy of it in 16 bits, where one copy is left.

    What was compiled is the gradient of a micro-batch: Adam's moments are no part of it.
    """
    config = load(*overrides)
    arch = known_models()["Qwen/Qwen3-4B"] if "experiment" in overrides[0] else QWEN3_8B
    share = learner_share(arch, config)
    moments = next(part.size for part in share.parts if part.name == "optimizer state")
    planned = (share.total - moments) / 2**30
    assert needed <= planned <= 1.3 * needed


def test_cudnn_is_given_a_mask():
    parts = parts_of(load(*LONG, "hardware=gpus_8x80gb", "learner.mesh.tensor=8"))
    assert parts["attention scores"] == 32_768**2


def test_an_average_for_the_teacher_takes_the_trained_weights_again():
    config = load("objective=opd", "objective.opd.teacher=ema")
    parts = parts_of(config)
    assert parts["teacher's average"] == parts["trained weights"]
    assert "teacher's average" not in parts_of(load("objective=opd"))


def test_constants_of_the_formulas_are_the_learners():
    assert activations.CHUNK == logprobs.CHUNK
    assert activations.SHORT_SUM == decoder._CHEAP_TERMS
    assert activations._BLOCKS == attention._BLOCKS


def test_scores_are_planned_where_the_kernel_holds_them():
    for platform, asked, dtype in product(("cpu", "gpu", "tpu"), AttentionKernel, ComputeDtype):
        for arch in known_models().values():
            learner = LearnerConfig(attention=asked, compute_dtype=dtype)
            try:
                chosen = attention.choose_kernel(asked, dtype, arch, platform)
            except ConfigError:
                continue
            assert is_fused(learner, arch, platform) == (chosen is not AttentionKernel.xla)


def test_half_the_bits_keep_half_as_much_on_accelerators():
    sizes = [
        parts_of(load(f"hardware.kind={kind}", f"learner.compute_dtype={dtype}"))[
            "activations kept"
        ]
        for kind in ("cpu", "gpu")
        for dtype in ("float32", "bfloat16")
    ]
    assert sizes[0] == sizes[1] == sizes[2] == 2 * sizes[3]


def assert_planned(path, method, rows, length, *overrides):
    config = load(
        *overrides,
        f"model.path={path}",
        f"learner={method}",
        f"learner.micro_batch_tokens={rows * length}",
        f"learner.max_tokens={length}",
        f"learner.length_buckets=[{length}]",
    )
    parts = parts_of(config)
    # XLA counts the summed gradient among the arguments, the newest one among what is temporary.
    summed = parts["trained weights"]
    planned = (
        parts["gradients"]
        - summed
        + parts["activations kept"]
        + parts["a layer at work"]
        + parts["attention scores"]
        + parts["logits chunk"]
    )
    step = abstract_step(find_architecture(config.model), config.learner)
    measured = step.temporary_bytes(rows, length)
    assert measured / FACTOR <= planned <= measured * FACTOR


def test_what_a_micro_batch_takes_is_planned_to_a_quarter():
    assert_planned("random:llama", "lora", 2, 1024)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "method", "rows", "length", "remat"),
    [
        ("random:llama", "full", 1, 2048, "dots"),
        pytest.param("random:llama", "lora", 2, 512, "none", marks=pytest.mark.thorough),
        ("random:llama", "lora", 2, 512, "full"),
        ("smollm2", "lora", 2, 512, "dots"),
        pytest.param("smollm2", "lora", 2, 512, "full", marks=pytest.mark.thorough),
        pytest.param("smollm2", "full", 1, 2048, "dots", marks=pytest.mark.thorough),
        ("Qwen/Qwen3-0.6B", "lora", 1, 2048, "dots"),
    ],
)
def test_larger_models_are_planned_to_a_quarter(path, method, rows, length, remat):
    assert_planned(path, method, rows, length, f"learner.remat={remat}")
