"""Meshes and servers in a plan: the learner's own rules, and devices counted once."""

import math
import re

import pytest
from abstract_step import abstract_step, shapes
from jax.sharding import AbstractMesh
from jax.tree_util import keystr, tree_leaves_with_path
from plan_configs import load

from clawjax.config import LoraConfig
from clawjax.errors import ConfigError
from clawjax.models.sharding import AXES, Placement
from clawjax.models.tiny import tiny_architecture
from clawjax.plan import known_models, plan_run, render_plan
from clawjax.plan.division import Division, adapter_size, model_size
from clawjax.plan.placement import learner_division, servers_of

MESHES = [(1, 1, 4), (1, 4, 1), (2, 2, 1), (1, 2, 2)]


def by_the_rules(arch, division, tree):
    """Numbers on one device, as the learner's placement divides them."""
    placement = Placement(arch, AbstractMesh(division, AXES))
    total = 0
    for path, leaf in tree_leaves_with_path(tree):
        spec = placement.spec(keystr(path, simple=True, separator="/"), leaf.shape)
        parts = math.prod(placement.size(axis) for axis in spec if axis is not None)
        total += leaf.size // parts
    return total


@pytest.mark.parametrize("sizes", MESHES)
@pytest.mark.parametrize("arch", [*map(tiny_architecture, ("llama", "qwen2", "qwen3"))])
def test_weights_are_divided_as_the_learner_divides_them(arch, sizes):
    division = Division(*sizes)
    assert model_size(arch, division) == by_the_rules(arch, division, shapes(arch))


@pytest.mark.parametrize("sizes", [*MESHES, (1, 4, 8), (1, 1, 16)])
def test_adapters_are_divided_as_the_learner_divides_them(sizes):
    arch, division = known_models()["Qwen/Qwen3-0.6B"], Division(*sizes)
    config = load("model.path=Qwen/Qwen3-0.6B", "learner=lora")
    adapter = abstract_step(arch, config.learner).state.trainable
    assert adapter_size(arch, LoraConfig(), division) == by_the_rules(arch, division, adapter)


def test_an_open_axis_takes_what_the_engine_leaves():
    config = load("engine=sglang_launch", "hardware=gpus_8x80gb", "learner.mesh.fsdp=-1")
    assert servers_of(config).devices == 1
    assert learner_division(config) == Division(fsdp=7)
    embedded = load("hardware.devices=4", "learner.mesh.data=-1")
    assert learner_division(embedded).data == 4  # its process sees them all, as build_mesh does


def test_the_embedded_engine_is_on_the_learners_first_device():
    """Both processes see the same devices, and each begins with the first."""
    config = load("hardware=gpus_8x80gb", "model=tiny", "learner=tiny", "learner.mesh.fsdp=4")
    plan = plan_run(config)
    assert plan.is_shared
    assert plan.needed(plan.learner) == plan.learner.total + plan.engine.total
    assert "both on the first device" in render_plan(plan)


def test_two_processes_share_no_tpu():
    with pytest.raises(ConfigError, match=r"engine.kind=embedded .* one process at a time: use"):
        plan_run(load("hardware=tpu_v5e_8"))
    assert not plan_run(load("experiment=tpu_v5e_8")).is_shared


def test_a_plan_says_what_two_processes_on_a_gpu_have_to_set():
    text = "set XLA_PYTHON_CLIENT_PREALLOCATE=false"
    assert text in render_plan(plan_run(load("experiment=gpu_24gb")))
    assert text not in render_plan(plan_run(load("experiment=one_cpu")))
    assert text not in render_plan(plan_run(load("experiment=gpus_8")))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["learner.mesh.fsdp=16"], "learner.mesh takes 16 devices and the engine 1"),
        (
            ["engine=sglang_launch", "engine.sglang.launch.servers=6", "learner.mesh.fsdp=4"],
            "give them devices of their own",
        ),
        (
            ["learner.mesh.tensor=7"],
            "learner.mesh.tensor=7 does not divide the model's heads of",
        ),
        (
            ["engine=sglang_launch", "hardware.engine_devices=3"],
            "hardware.engine_devices=3, but the engine is 1 times on 1 devices: use 1",
        ),
    ],
)
def test_what_cannot_be_placed_is_refused(overrides, message):
    config = load("model=qwen3_4b", "hardware=gpus_8x80gb", *overrides)
    with pytest.raises(ConfigError, match=re.escape(message)):
        plan_run(config)


def test_servers_share_weights_and_split_the_cache():
    one = load("model=qwen3_4b", "engine=sglang_launch", "hardware=gpus_8x80gb")
    four = load(
        "model=qwen3_4b",
        "engine=sglang_launch",
        "hardware=gpus_8x80gb",
        "engine.sglang.launch.tp=4",
    )
    alone, together = plan_run(one), plan_run(four)
    weights = [plan.engine.parts[0].size for plan in (alone, together)]
    assert weights[0] / 4 <= weights[1] <= weights[0] / 3.9  # norms are everywhere
    assert together.cache_tokens > 4 * alone.cache_tokens


def test_a_server_takes_its_fraction_of_the_memory():
    config = load(
        "model=qwen3_4b",
        "engine=sglang_launch",
        "hardware=gpus_8x80gb",
        "engine.sglang.launch.memory_fraction=0.5",
    )
    assert plan_run(config).engine.total == int(0.5 * 79 * 2**30)


def names_of(config):
    return [part.name for part in plan_run(config).engine.parts]


def test_sglang_jax_needs_room_for_a_second_copy():
    config = load("experiment=tpu_v5e_8")
    assert "incoming weights" in names_of(config)
    assert "incoming weights" not in names_of(load("experiment=gpus_8"))


@pytest.mark.parametrize(
    ("overrides", "bytes_each"),
    [
        (["engine.sglang.delivery.transport=disk"], 2 * 4_022_468_096),
        (["learner=full"], 4 * 4_022_468_096),
        (
            ["engine.sglang.launch.lora_rank=16", "engine.sglang.launch.lora_targets=[q_proj]"],
            4 * 33_030_144,
        ),
    ],
)
def test_what_a_server_reads_depends_on_the_transport(overrides, bytes_each):
    config = load("model=qwen3_4b", "engine=sglang_launch", *overrides)
    assert plan_run(config).delivered == bytes_each
