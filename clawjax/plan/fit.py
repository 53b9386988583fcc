"""Whether a plan fits its devices, and what to change where it does not.

A fix is looked for by planning again with one setting changed: what a message proposes is known to
fit.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from clawjax.config import ComputeDtype, Remat, RunConfig
from clawjax.errors import ConfigError
from clawjax.models.architecture import Architecture
from clawjax.plan.plan import make_plan
from clawjax.plan.records import Part, Plan, Share
from clawjax.plan.render import gib

__all__ = ["require_fit"]


def require_fit(arch: Architecture, config: RunConfig) -> Plan:
    """The plan, where it fits.

    Raises:
        ConfigError: a device's memory does not suffice; names the setting that takes the most of
            it, its value, the limit, and a change that would fit.
    """
    plan = make_plan(arch, config)
    share = _over(plan)
    if share is None:
        return plan
    assert plan.limit is not None
    key, size, names = _largest(plan, share)
    where = "learner and engine need" if plan.is_shared else f"the {share.role} needs"
    msg = (
        f"{key}={_value(config, key)} takes {gib(size)} for {names}; with everything else "
        f"{where} {gib(plan.needed(share))} of a device, above {gib(plan.limit)}, which is "
        f"hardware.usable={config.hardware.usable} of "
        f"hardware.memory_gib={config.hardware.memory_gib}: {_advice(arch, config, plan, share)}"
    )
    raise ConfigError(msg)


class _Change(NamedTuple):
    key: str
    value: Any


def _over(plan: Plan) -> Share | None:
    """The share whose devices are too small; of two, the larger one."""
    if plan.limit is None:
        return None
    share = max(plan.learner, plan.engine, key=lambda share: share.total)
    return share if plan.needed(share) > plan.limit else None


def _largest(plan: Plan, share: Share) -> tuple[str, int, str]:
    """The setting that most memory follows from, how much, and for what."""
    parts = (*plan.learner.parts, *plan.engine.parts) if plan.is_shared else share.parts
    by_key: defaultdict[str, list[Part]] = defaultdict(list)
    for part in parts:
        by_key[part.key].append(part)
    sizes = {key: sum(part.size for part in parts) for key, parts in by_key.items()}
    key = max(sizes, key=lambda key: sizes[key])
    return key, sizes[key], ", ".join(dict.fromkeys(part.name for part in by_key[key]))


def _advice(arch: Architecture, config: RunConfig, plan: Plan, share: Share) -> str:
    found = _fix(arch, config)
    if found is None:
        return (
            f"no single setting makes room: use devices with {gib(plan.needed(share))} to spare, "
            "more of them, or a smaller model.path"
        )
    return f"set {found.key}={found.value}"


def _fix(arch: Architecture, config: RunConfig) -> _Change | None:
    """The first change, the mildest first, with which the plan fits."""
    for change in _changes(config):
        try:
            plan = make_plan(arch, _changed(config, change))
        except ConfigError:
            continue
        if _over(plan) is None:
            return change
    return None


def _changes(config: RunConfig) -> Iterator[_Change]:
    learner, engine = config.learner, config.engine
    for tokens in _halved(learner.micro_batch_tokens, min(learner.length_buckets)):
        yield _Change("learner.micro_batch_tokens", tokens)
    if engine.kept_prefixes:
        yield _Change("engine.kept_prefixes", 0)
    for slots in _halved(engine.slots, 1):
        yield _Change("engine.slots", slots)
    for length in _halved(config.model.context_length, 2 * engine.max_response_tokens):
        yield _Change("model.context_length", length)
    if engine.cache_dtype != "bfloat16":
        yield _Change("engine.cache_dtype", "bfloat16")
    if engine.weights_dtype != "bfloat16":
        yield _Change("engine.weights_dtype", "bfloat16")
    if learner.compute_dtype is not ComputeDtype.bfloat16:
        yield _Change("learner.compute_dtype", ComputeDtype.bfloat16)
    if learner.remat is not Remat.full:
        yield _Change("learner.remat", Remat.full)
    for axis in ("fsdp", "tensor"):
        for size in _doubled(getattr(learner.mesh, axis), config.hardware.devices):
            yield _Change(f"learner.mesh.{axis}", size)
    launch = engine.sglang.launch
    for size in _doubled(launch.tp if launch.servers else None, config.hardware.devices):
        yield _Change("engine.sglang.launch.tp", size)
    if launch.memory_fraction is not None:
        yield _Change("engine.sglang.launch.memory_fraction", config.hardware.usable)
    if config.objective.practice.rounds:
        yield _Change("objective.practice.rounds", 0)
    if learner.method != "lora":
        yield _Change("learner.method", "lora")


def _halved(value: int, least: int) -> Iterator[int]:
    while value // 2 >= least:
        value //= 2
        yield value


def _doubled(value: int | None, most: int) -> Iterator[int]:
    while value is not None and value >= 1 and 2 * value <= most:
        value *= 2
        yield value


def _changed(config: RunConfig, change: _Change) -> RunConfig:
    """The configuration with one setting changed, and checked again."""
    group, *path = change.key.split(".")
    return dataclasses.replace(
        config, **{group: _replaced(getattr(config, group), path, change.value)}
    )


def _replaced(section: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    new = _replaced(getattr(section, name), rest, value) if rest else value
    return dataclasses.replace(section, **{name: new})


def _value(config: RunConfig, key: str) -> Any:
    read: Callable[[Any, str], Any] = getattr
    found: Any = config
    for name in key.split("."):
        found = read(found, name)
    return found
