"""What a run says of itself, as Prometheus reads it.

Owns the names that `/metrics` gives to gauges: those of the health report are listed here, those
of `metrics.jsonl` are the keys of `clawjax.metrics.keys` with underscores. Pure: reports in,
families out; anything may be missing from a report. Invariant: labels come from this code, from
settings or from the table of keys, never from a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from clawjax.metrics.keys import describe
from clawjax.protocols import EngineStatus, ServerStatus

__all__ = ["Report", "families", "name_of"]

_LIVE = (
    *(f"engine/{name}" for name in ("version", "running", "waiting", "generated_tokens")),
    "engine/tokens_per_s",
    "log/",
    "gateway/requests",
    "gateway/other_requests",
)
"""Keys, or beginnings of keys, that `/metrics` has up to date, in families of its own."""
_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_]+")


@dataclass(frozen=True, slots=True)
class Report:
    """All that gauges are made of."""

    engine: EngineStatus
    loops: Mapping[str, Any] = field(default_factory=dict)
    """As `/healthz` has them."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    """The turn log's balance, as `/healthz` has it."""
    latest: Mapping[str, float] = field(default_factory=dict)
    """The newest value of every key in `metrics.jsonl`."""
    sessions: Mapping[str, int] = field(default_factory=dict)
    """How many sessions the gateway has in memory, by their state."""


def families(report: Report) -> Iterator[Metric]:
    """The report as gauges."""
    yield from _engine(report.engine)
    yield from _turns(report.counts)
    yield from _sessions(report.sessions)
    yield from _loops(report.loops)
    yield from _latest(report.latest)


def name_of(key: str) -> str:
    """How a key of `metrics.jsonl` is called, e.g. `clawjax_train_staleness_mean`."""
    return "clawjax_" + _NOT_A_NAME.sub("_", key)


def _engine(status: EngineStatus) -> Iterator[Metric]:
    yield _gauge("clawjax_up", "1 while replies can be sampled", float(status.is_healthy))
    yield _gauge("clawjax_engine_version", "policy version being served", status.version)
    yield _gauge("clawjax_engine_running", "replies being drawn", status.running)
    yield _gauge("clawjax_engine_waiting", "requests that wait for a slot", status.waiting)
    yield _gauge("clawjax_engine_slots", "replies that can be drawn together", status.slots)
    yield _gauge(
        "clawjax_engine_generated_tokens", "tokens drawn since start", status.generated_tokens
    )
    yield _gauge("clawjax_engine_tokens_per_second", "tokens drawn per second", status.tokens_per_s)
    is_degraded = float(status.trouble is not None)
    yield _gauge("clawjax_engine_degraded", "1 while /healthz says what is wrong", is_degraded)
    if status.servers:
        yield from _servers(status.servers)


def _servers(servers: Sequence[ServerStatus]) -> Iterator[Metric]:
    """Why one is out or outdated is in `/healthz`: words of a server make no label."""
    states = GaugeMetricFamily(
        "clawjax_engine_server", "1 for the state a server is in", labels=("server", "state")
    )
    versions = GaugeMetricFamily(
        "clawjax_engine_server_version", "policy version a server has shown", labels=("server",)
    )
    for server in servers:
        states.add_metric((server.url, server.standing), 1.0)
        if server.version is not None:
            versions.add_metric((server.url,), server.version)
    yield states
    yield versions


def _turns(counts: Mapping[str, Any]) -> Iterator[Metric]:
    if not counts:
        return
    turns = GaugeMetricFamily(
        "clawjax_turns", "turns in the log by how they ended", labels=("outcome", "reason")
    )
    turns.add_metric(("trained", ""), counts["trained"])
    turns.add_metric(("pending", ""), counts["pending"])
    for reason, count in counts["dropped"].items():
        turns.add_metric(("dropped", reason), count)
    yield turns
    judged = counts["scored"] + counts["abstained"]
    waiting = max(0, counts["linked"] - judged)
    yield _gauge("clawjax_turns_to_judge", "answered turns without a verdict yet", waiting)


def _sessions(counts: Mapping[str, int]) -> Iterator[Metric]:
    if not counts:
        return
    sessions = GaugeMetricFamily(
        "clawjax_sessions", "sessions in the gateway's memory, by state", labels=("state",)
    )
    for state, count in counts.items():
        sessions.add_metric((state,), count)
    yield sessions


def _loops(loops: Mapping[str, Any]) -> Iterator[Metric]:
    """A loop's state as a label; every number it gives, e.g. its restarts, as a gauge."""
    states = GaugeMetricFamily(
        "clawjax_loop", "1 for the state a loop is in", labels=("loop", "state")
    )
    numbers: dict[str, GaugeMetricFamily] = {}
    for loop, said in loops.items():
        fields = said if isinstance(said, Mapping) else {"state": said}
        for name, value in fields.items():
            if name == "state":
                states.add_metric((loop, str(value)), 1.0)
            elif isinstance(value, int | float):
                known = numbers.setdefault(name, _of_loops(name))
                known.add_metric((loop,), float(value))
    yield states
    yield from numbers.values()


def _of_loops(field_name: str) -> GaugeMetricFamily:
    words = field_name.replace("_", " ")
    return GaugeMetricFamily(f"clawjax_loop_{field_name}", f"{words}, by loop", labels=("loop",))


def _latest(values: Mapping[str, float]) -> Iterator[Metric]:
    """Keys that the table knows; those that stand for several share a family."""
    grouped: dict[str, GaugeMetricFamily] = {}
    for key, value in sorted(values.items()):
        entry = describe(key)
        if entry is None or key.startswith(_LIVE):
            continue
        help_text = f"{entry.meaning} ({entry.unit})"
        if not entry.name.endswith("*"):
            yield _gauge(name_of(key), help_text, value)
            continue
        beginning = entry.name.removesuffix("*")
        family = grouped.setdefault(
            entry.name,
            GaugeMetricFamily(name_of(f"{beginning}by"), help_text, labels=("name",)),
        )
        family.add_metric((key.removeprefix(beginning),), value)
    yield from grouped.values()


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=float(value))
