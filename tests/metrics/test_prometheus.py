"""The health report and `metrics.jsonl` as gauges."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client.core import Metric

from clawjax.metrics.prometheus import Report, families
from clawjax.protocols import EngineStatus, ServerStatus, Standing

ENGINE = EngineStatus(
    version=3, running=2, waiting=5, slots=8, context_length=64, generated_tokens=99, tokens_per_s=7
)


def samples(found: list[Metric]) -> dict[tuple[str, ...], float]:
    """Value by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in found
        for sample in family.samples
    }


def test_a_report_of_nothing_but_the_engine_is_enough() -> None:
    found = samples(list(families(Report(ENGINE))))
    assert found["clawjax_up",] == 1
    assert found["clawjax_engine_version",] == 3
    assert found["clawjax_engine_waiting",] == 5


def test_servers_are_told_by_state_and_version_and_no_words_become_labels() -> None:
    servers = (
        ServerStatus("http://a", Standing.OUTDATED, 2, "it cannot read /runs/x"),
        ServerStatus("http://b", Standing.OUT, None, "it is gone"),
    )
    assert samples(list(families(Report(ENGINE))))["clawjax_engine_degraded",] == 0
    engine = replace(ENGINE, trouble="it cannot read /runs/x", servers=servers)
    found = samples(list(families(Report(engine))))
    assert found["clawjax_engine_degraded",] == 1
    assert found["clawjax_engine_server", "http://a", "outdated"] == 1
    assert found["clawjax_engine_server", "http://b", "out"] == 1
    assert found["clawjax_engine_server_version", "http://a"] == 2
    assert ("clawjax_engine_server_version", "http://b") not in found
    assert not any("/runs/x" in part for labels in found for part in labels)


def test_turns_are_told_by_outcome_and_loops_by_state_with_their_numbers() -> None:
    counts = {
        "logged": 9, "trained": 4, "pending": 2, "dropped": {"stale": 2, "side": 1},
        "linked": 6, "scored": 4, "abstained": 1,
    }  # fmt: skip
    loops = {"learn": {"state": "training", "restarts": 2}, "judge": {"state": "idle"}}
    found = samples(list(families(Report(ENGINE, loops, counts))))
    assert found["clawjax_turns", "trained", ""] == 4
    assert found["clawjax_turns", "dropped", "stale"] == 2
    assert sum(v for k, v in found.items() if k[0] == "clawjax_turns") == counts["logged"]
    assert found["clawjax_turns_to_judge",] == 1
    assert found["clawjax_loop", "learn", "training"] == 1
    assert found["clawjax_loop_restarts", "learn"] == 2


def test_what_the_table_of_keys_knows_is_told_with_its_meaning() -> None:
    latest = {
        "train/staleness_mean": 0.5,
        "drift/kl": 0.01,
        "train/opd_skipped/no_hint": 3.0,
        "gateway/unknown_shapes": 2.0,
        "engine/prefix_hit_rate": 0.5,
        "engine/version": 2.0,
        "of/nobody": 1.0,
    }
    families_ = {family.name: family for family in families(Report(ENGINE, latest=latest))}
    found = samples(list(families_.values()))
    assert found["clawjax_train_staleness_mean",] == 0.5
    assert found["clawjax_drift_kl",] == 0.01
    assert found["clawjax_train_opd_skipped_by", "no_hint"] == 3
    assert found["clawjax_gateway_unknown_shapes",] == 2
    assert found["clawjax_engine_prefix_hit_rate",] == 0.5
    assert found["clawjax_engine_version",] == 3, "the report is newer than the file"
    assert families_["clawjax_drift_kl"].documentation.endswith("(nats/token)")
    assert not any("nobody" in name for name in families_)
