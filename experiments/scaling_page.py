"""Write the tables of docs/scaling.md: `python experiments/scaling_page.py`.

Plans come from `run.plan`'s own functions, projections from `clawjax.plan.balance`. Invariant: the
page's tables are a function of `conf/experiment/` and of the rates below, each with its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from _entry import register_schema
from hydra import compose, initialize_config_dir

from clawjax.config import RunConfig, to_run_config
from clawjax.plan import Plan, find_architecture, require_fit
from clawjax.plan.balance import Rates, simulate
from clawjax.plan.render import gib

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "scaling.md"
SECONDS = 3600.0
_TFLOP = 1e12
_PASSING = ("activations kept", "a layer at work", "attention scores", "logits chunk")
_SAVED = 12
"""Bytes of a checkpoint per trained parameter: it and Adam's two moments, fp32."""
_MFU = 0.111
"""Of the bf16 peak: prime-rl's committed baseline of RL on one H100, Qwen3-0.6B, 16k context."""


class Setting(NamedTuple):
    """One column of assumptions."""

    name: str
    decode: float
    """Tokens per second and engine device."""
    train: float
    """The same per learner device."""
    disk_gb_s: float
    """GB per second at which the learner writes, and servers read, what is on a disk."""
    downtime_s: float
    conversations: int
    source: str


def from_peak(tflops: float, parameters: float) -> float:
    """Tokens per second at `_MFU` of a peak: 6 operations per parameter and token."""
    return _MFU * tflops * _TFLOP / (6 * parameters)


SETTINGS = (
    Setting("one_cpu", 170, 341, 1.0, 0.0, 8, "measured on two cores, each alone"),
    Setting("gpu_24gb", 3000, 3700, 1.0, 0.0, 32, "train: prime-rl, one A6000; decode: assumed"),
    Setting("gpus_8", 7600, from_peak(989, 4.02e9), 2.0, 1.0, 512, "decode: SkyRL tx, L40S, 128"),
    Setting("tpu_v5e_8", 600, from_peak(197, 4.02e9), 1.0, 1.0, 64, "decode: assumed"),
    Setting("hosts_8", 430, from_peak(989, 32.8e9), 2.0, 30.0, 1024, "decode: vLLM, A100"),
)
PLAN_HEAD = (
    "`experiment=`", "model, trained", "learner", "weights, Adam, gradients", "activations",
    "learner in all", "engine", "engine in all", "limit", "cached tokens", "tokens per step",
    "published / read",
)  # fmt: skip
PROJECTION_HEAD = (
    "`experiment=`", "decode tok/s", "train tok/s", "checkpoint and publish s", "deliver s",
    "turns/s sampled", "turns/s trained", "engine busy", "learner busy", "staleness mean / p95",
    "dropped",
)  # fmt: skip


def main() -> None:
    """Bring the page up to date."""
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")


def updated(page: str) -> str:
    """The page with its tables as they should be."""
    configs = [load(setting.name) for setting in SETTINGS]
    plans = [require_fit(find_architecture(config.model), config) for config in configs]
    for name, lines in (
        ("plans", plan_table(configs, plans)),
        ("projection", projection_table(configs, plans)),
    ):
        block = f"<!-- {name} -->\n" + "\n".join(lines) + f"\n<!-- end of {name} -->"
        page, count = re.subn(rf"<!-- {name} -->.*<!-- end of {name} -->", block, page, flags=re.S)
        assert count == 1, f"{PAGE} has no place for {name}"
    return page


def load(name: str) -> RunConfig:
    """One of `conf/experiment/`."""
    register_schema()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return to_run_config(compose("config", [f"experiment={name}", "run.dir=runs/plan"]))


def plan_table(configs: Sequence[RunConfig], plans: Sequence[Plan]) -> Iterable[str]:
    """Memory per device, by setting."""
    yield from _table(
        PLAN_HEAD,
        (
            _plan_row(setting, config, plan)
            for setting, config, plan in zip(SETTINGS, configs, plans, strict=True)
        ),
    )


def _plan_row(setting: Setting, config: RunConfig, plan: Plan) -> list[str]:
    parts = {part.name: part.size for part in plan.learner.parts}
    passing = sum(parts[name] for name in _PASSING)
    assert plan.limit is not None
    return [
        f"`{setting.name}`",
        f"{config.model.name}, {config.learner.method}",
        _devices(plan.learner.devices, config.hardware.kind),
        gib(plan.learner.total - passing),
        gib(passing),
        gib(plan.learner.total),
        _devices(plan.engine.devices, config.hardware.kind)
        + (" (the same)" if plan.is_shared else ""),
        gib(plan.engine.total),
        gib(plan.limit),
        f"{plan.cache_tokens:,}",
        f"≤ {plan.tokens_per_step:,}",
        f"{gib(plan.published)} / {gib(plan.delivered)}",
    ]


def projection_table(configs: Sequence[RunConfig], plans: Sequence[Plan]) -> Iterable[str]:
    """What the simulation makes of the rates."""
    yield from _table(
        PROJECTION_HEAD,
        (
            _projection_row(setting, config, plan)
            for setting, config, plan in zip(SETTINGS, configs, plans, strict=True)
        ),
    )


def rates(setting: Setting, config: RunConfig, plan: Plan) -> Rates:
    """A setting's assumptions in the form that is simulated.

    Replies of 200 tokens after prompts of 600; users take 10 s to react. After each step the
    learner writes a checkpoint, of weights and both moments, and the version.
    """
    rate = setting.disk_gb_s * 1e9
    return Rates(
        decode_tokens_per_s=setting.decode * plan.engine.devices,
        stream_tokens_per_s=100.0,
        train_tokens_per_s=setting.train * plan.learner.devices,
        settle_s=(_SAVED * plan.trained + plan.published) / rate,
        deliver_s=1.0 + plan.delivered / rate,
        downtime_s=setting.downtime_s,
        conversations=setting.conversations,
        think_s=10.0,
        prompt_tokens=600.0,
        reply_tokens=200.0,
        batch_turns=config.learner.batch_turns,
        max_staleness=config.learner.max_staleness,
        slots=config.engine.slots,
    )


def _projection_row(setting: Setting, config: RunConfig, plan: Plan) -> list[str]:
    assumed = rates(setting, config, plan)
    balance = simulate(assumed, seconds=SECONDS)
    return [
        f"`{setting.name}`",
        f"{assumed.decode_tokens_per_s:,.0f} ({setting.source})",
        f"{assumed.train_tokens_per_s:,.0f}",
        f"{assumed.settle_s:.1f}",
        f"{assumed.deliver_s:.1f}",
        f"{balance.sampled_per_s:.2f}",
        f"{balance.trained_per_s:.2f}",
        f"{balance.engine_busy:.0%}",
        f"{balance.learner_busy:.0%}",
        f"{balance.staleness:.1f} / {balance.staleness_p95:.0f}",
        f"{balance.dropped:.0%}",
    ]


def _devices(count: int, kind: str) -> str:
    return f"{count} {kind.upper()}" + ("s" if count > 1 else "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


if __name__ == "__main__":
    main()
