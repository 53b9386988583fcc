"""Two evaluations of the same suite, side by side: is one agent better than the other?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawjax.errors import ConfigError
from clawjax.evals.harness.runner import Episode
from clawjax.evals.metrics.statistics import mcnemar, paired_difference
from clawjax.evals.metrics.summary import by_task, is_success
from clawjax.evals.reporting.markdown import UNKNOWN, interval, table

__all__ = ["compare", "render_comparison"]


def compare(a: Sequence[Episode], b: Sequence[Episode]) -> dict[str, Any]:
    """Difference of the mean scores, McNemar's test of the successes.

    Trials of a task are averaged for the difference. McNemar's test takes independent outcomes:
    where a task has several trials, or variations, there is none. What either lacks a score of is
    left out. Scores have to be by one version of the suite; the
    episodes may have been played under two, and then it says so.

    Raises:
        ConfigError: different suites or data; nothing that both have a score of.
    """
    _check(a, b)
    clusters = {each.task.task_id: each.task.cluster for each in a}
    paired = paired_difference(by_task(a), by_task(b), cluster_of=clusters.__getitem__)
    if paired is None:
        msg = "the two have no scored task in common: run both on the same selection"
        raise ConfigError(msg)
    return {
        "a": a[0].trajectory.agent,
        "b": b[0].trajectory.agent,
        "suite": a[0].trajectory.suite,
        "played_under": [_versions(a), _versions(b)],
        **paired._asdict(),
        "mcnemar": _mcnemar(a, b),
    }


def render_comparison(found: dict[str, Any]) -> str:
    """As Markdown."""
    test = found["mcnemar"]
    both = f"{UNKNOWN}: tasks have several trials, or variations"
    rows = [
        ["tasks compared", str(found["n"])],
        ["mean score of B less A", f"{found['difference']:+.3f} ({interval(found['ci'], '+.3f')})"],
        ["p, sign flips", UNKNOWN if found["p_value"] is None else f"{found['p_value']:.4f}"],
        ["solved by A only / B only", f"{test['only_a']} / {test['only_b']}" if test else both],
        ["p, McNemar exact", f"{test['p_value']:.4f}" if test else both],
    ]
    left, right = found["played_under"]
    if left != right:
        rows.append(["version of the suite that A / B was played under", f"{left} / {right}"])
    head = f"{found['suite']}: A = {found['a']}, B = {found['b']}"
    return f"{head}\n\n{table(('', ''), rows)}\n"


def _check(a: Sequence[Episode], b: Sequence[Episode]) -> None:
    if not a or not b:
        msg = "one of the two evaluations has no episode: run it first"
        raise ConfigError(msg)
    left, right = a[0].trajectory.suite, b[0].trajectory.suite
    if left != right:
        msg = f"the suite is {left} in A and {right} in B, which cannot be compared"
        raise ConfigError(msg)
    data = {each.task.task_id: each.trajectory.data_version for each in a}
    for each in b:
        if (
            data.get(each.task.task_id, each.trajectory.data_version)
            != each.trajectory.data_version
        ):
            msg = f"{each.task.task_id} is from other data in A than in B: use the same files"
            raise ConfigError(msg)


def _versions(episodes: Sequence[Episode]) -> str:
    return " and ".join(sorted({each.trajectory.suite_version for each in episodes}))


def _mcnemar(a: Sequence[Episode], b: Sequence[Episode]) -> dict[str, Any] | None:
    solved = [
        [
            (task.cluster, is_success(score.value))
            for task, _, score in side
            if score.value is not None
        ]
        for side in (a, b)
    ]
    if any(len(dict(side)) < len(side) for side in solved):
        return None
    return mcnemar(*map(dict, solved))._asdict()
