"""Plans as text for a terminal and as a row of a table."""

from __future__ import annotations

from collections.abc import Iterator

from clawjax.models.devices import SHARED_MEMORY
from clawjax.plan.records import GIB, Plan, Share

__all__ = ["gib", "render_plan"]


def render_plan(plan: Plan) -> str:
    """What a person reads before they start a run."""
    return "\n".join(_lines(plan))


def gib(size: float) -> str:
    """Bytes in GiB, in as many digits as are of use; below a tenth in MiB."""
    if size < GIB / 10:
        return f"{size / 2**20:.1f} MiB"
    return f"{size / GIB:.2f} GiB" if size < 10 * GIB else f"{size / GIB:.1f} GiB"


def _lines(plan: Plan) -> Iterator[str]:
    yield f"{plan.model}: {plan.parameters:,} parameters, {plan.trained:,} of them trained"
    for share in (plan.learner, plan.engine):
        yield ""
        yield from _share(share)
    yield ""
    if plan.is_shared:
        where = "the first device" if plan.learner.devices > plan.engine.devices else "each device"
        yield f"both on {where}: {gib(plan.needed(plan.learner))}"
    if plan.is_shared and plan.kind == "gpu":
        yield SHARED_MEMORY
    yield (
        "limit per device: none was given (hardware.memory_gib)"
        if plan.limit is None
        else f"limit per device: {gib(plan.limit)} (hardware.usable x hardware.memory_gib)"
    )
    rows, length = plan.micro_batch
    yield f"tokens per step: up to {plan.tokens_per_step:,}; micro-batches of {rows} x {length:,}"
    yield f"KV cache: {plan.cache_tokens:,} tokens on {plan.servers} server(s)"
    yield f"per version: {gib(plan.published)} published, {gib(plan.delivered)} read by each server"


def _share(share: Share) -> Iterator[str]:
    yield f"{share.role}, on each of {share.devices} device(s):"
    for part in share.parts:
        yield f"  {part.name:<20} {gib(part.size):>12}   {part.key}"
    yield f"  {'together':<20} {gib(share.total):>12}"
