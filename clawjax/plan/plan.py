"""From a configuration to a plan: pure functions of architecture and settings.

Invariant: no model is loaded and no device is touched, so a laptop can plan for a cluster.
"""

from __future__ import annotations

from clawjax.config import RunConfig
from clawjax.models.architecture import Architecture
from clawjax.plan.architectures import find_architecture
from clawjax.plan.division import adapter_size, model_size
from clawjax.plan.engine import delivered_bytes, plan_engine
from clawjax.plan.learner import learner_share, trained_size
from clawjax.plan.placement import (
    is_shared,
    learner_division,
    require_divisible,
    servers_of,
)
from clawjax.plan.records import GIB, Plan

__all__ = ["make_plan", "plan_run"]

_FLOAT = 4


def plan_run(config: RunConfig) -> Plan:
    """Plan a configuration.

    Raises:
        ConfigError: its model's shape is not known here, or learner and engine cannot be placed.
    """
    return make_plan(find_architecture(config.model), config)


def make_plan(arch: Architecture, config: RunConfig) -> Plan:
    """Plan a configuration for a model of this shape.

    Raises:
        ConfigError: learner and engine cannot be placed on the devices.
    """
    engine, hardware = plan_engine(arch, config), config.hardware
    require_divisible(arch, learner_division(config))
    limit = None
    if hardware.memory_gib is not None:
        limit = int(hardware.memory_gib * hardware.usable * GIB)
    return Plan(
        model=config.model.path,
        parameters=model_size(arch),
        trained=trained_size(arch, config),
        learner=learner_share(arch, config),
        engine=engine.share,
        kind=hardware.kind,
        is_shared=is_shared(config),
        limit=limit,
        tokens_per_step=config.learner.batch_turns * config.learner.max_tokens,
        micro_batch=_micro_batch(config),
        published=_published(arch, config),
        delivered=delivered_bytes(arch, config),
        servers=servers_of(config).copies,
        cache_tokens=engine.cache_tokens,
    )


def _micro_batch(config: RunConfig) -> tuple[int, int]:
    """Rows of the longest bucket over all devices, and its length."""
    learner, length = config.learner, max(config.learner.length_buckets)
    parts = learner_division(config).rows
    rows = max(1, learner.micro_batch_tokens // length)
    return -(-rows // parts) * parts, length


def _published(arch: Architecture, config: RunConfig) -> int:
    """Tensors of a version in the weight store, fp32; headers aside."""
    if config.learner.method == "lora":
        return _FLOAT * adapter_size(arch, config.learner.lora)
    return _FLOAT * model_size(arch)
