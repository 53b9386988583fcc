"""Reports of suites: JSON, Markdown, and one HTML page with every trajectory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clawjax.evals.harness.protocols import Suite
from clawjax.evals.harness.runner import Episode
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.metrics.summary import Prices, summarise
from clawjax.evals.opinions import with_opinions
from clawjax.evals.reporting.markdown import render_summary
from clawjax.evals.reporting.page import render_html

__all__ = ["read_prices", "write_report"]


def read_prices(agent: Mapping[str, Any]) -> Prices | None:
    """What tokens cost, by an agent's settings as a manifest has them; None: not told."""
    prices = agent.get("prompt_price"), agent.get("completion_price")
    return None if prices[0] is None or prices[1] is None else (prices[0], prices[1])


def write_report(
    suite: Suite,
    episodes: Sequence[Episode],
    store: EpisodeStore,
    *,
    prices: Prices | None = None,
) -> dict[str, Any]:
    """Write `report.json`, `report.md` and `report.html` beside the trajectories; the summary.

    What judges said of the episodes is in all three, beside the scores.
    """
    episodes = with_opinions(episodes, store)
    summary = summarise(suite, episodes, prices=prices)
    text = json.dumps(summary, indent=1, allow_nan=False) + "\n"
    store.write("report.json", text)
    store.write("report.md", render_summary(summary))
    page: Path = store.write("report.html", render_html(summary, episodes, suite))
    assert page.exists()
    return summary
