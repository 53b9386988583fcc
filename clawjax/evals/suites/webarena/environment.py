"""WebArena in a real browser: one Chromium per process, one window per episode.

Invariant: the gold reaches this process only in `inspect`, when the agent can no longer act.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clawjax.evals.harness.tasks import ANSWER, Action, Setup
from clawjax.evals.harness.trajectory import StepResult
from clawjax.evals.suites.webarena.checks import content_of
from clawjax.evals.suites.webarena.helpers import Context
from clawjax.evals.suites.webarena.local.server import LocalSites
from clawjax.evals.suites.webarena.records import at_sites, placed, with_placeholders
from clawjax.evals.web.har import keep_har
from clawjax.evals.web.session import RefusedError
from clawjax.evals.web.windows import Windows

__all__ = ["WebArenaEnvironment"]


class WebArenaEnvironment:
    """`Environment` of one task after the other."""

    def __init__(
        self,
        *,
        sites: Mapping[str, str] | None,
        hosts: Sequence[str] | None = None,
        states: str | None = None,
        shopping_admin: Mapping[str, str] | None = None,
        settle_s: float = 0.05,
        repetitions: int = 3,
        records_har: bool = False,
    ) -> None:
        """Start the browser, and our own sites where no others are given.

        Args:
            sites: addresses by placeholder; None: our own shop and forum.
            hosts: names that the browser may look up besides the sites'; None: all.
            states: folder with the logged-in browsers' states, `shopping_state.json` and so on.
            shopping_admin: account of the shop's API, for helpers.
            settle_s: waited on the first page and after each action, seconds.
            repetitions: so many equal actions in a row end the episode (of typing, anywhere).
            records_har: whether each episode's requests are recorded, for `inspect`.
        """
        self._exits = contextlib.ExitStack()
        self._local = LocalSites() if sites is None else None
        if self._local is not None:
            self._exits.callback(self._local.close)
        self._sites: dict[str, str] = dict(sites or (self._local.sites if self._local else {}))
        self._states, self._settle_s, self._repetitions = states, settle_s, repetitions
        self._admin = shopping_admin or (self._local.shopping_admin if self._local else {})
        own = [urlsplit(url).hostname or "" for url in self._sites.values()]
        known = None if hosts is None else [*hosts, *own]
        self._har: Path | None = None
        if records_har:
            folder = tempfile.TemporaryDirectory(prefix="clawjax-har-")
            self._har = Path(self._exits.enter_context(folder)) / "network.har"
        self._windows = self._exits.enter_context(Windows(known))
        self._taken: list[Action] = []

    def reset(self, setup: Setup) -> str:
        """A new window with the task's first pages; our own sites begin afresh."""
        self._windows.leave()
        options = setup.options
        if self._local is not None:
            self._local.world.begin()
        self._taken = []
        window = self._windows.open(
            origins=list(self._sites.values()),
            storage_state=self._state(options["storage_state"], options["sites"]),
            settle_s=self._settle_s,
            har=self._har,
        )
        window.open([at_sites(url, self._sites) for url in options["start_urls"]])
        return self._look()

    def step(self, action: Action) -> StepResult:
        """One action of `web.grammar`."""
        self._taken.append(action)
        if action.name == ANSWER:
            return StepResult("", is_done=True)
        given = {
            name: at_sites(value, self._sites) if name == "url" else value
            for name, value in action.arguments.items()
        }
        problem: str | None = None
        resolved = self._windows.current.resolved(action)
        if "url" in given:
            resolved = Action(action.name, {"url": with_placeholders(given["url"], self._sites)})
        try:
            self._windows.current.carry_out(Action(action.name, given))
        except RefusedError as refused:
            problem = str(refused)
        text = self._look()
        state = hashlib.sha256(f"{self._windows.current.page.url}\n{text}".encode()).hexdigest()
        if self._repeats():
            told = f"The same action {self._repetitions} times."
            return StepResult(told, is_done=True, resolved=resolved)
        if problem is not None:
            text = f"{action.name} was not carried out: {problem}\n\n{text}"
        return StepResult(
            text, is_valid=problem is None, error=problem, state=state, resolved=resolved
        )

    def snapshot(self) -> Mapping[str, Any]:
        """Where the agent is; of our own sites also a digest per row of the database."""
        found = {"url": self._windows.current.page.url, "sites": self._sites}
        return found if self._local is None else {**found, "rows": self._local.world.digests()}

    def inspect(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What each of `targets` finds; or with `har`, which ends the window, its requests."""
        if request.get("har"):
            return {"har": self._kept_har(Path(request["folder"]))}
        last_url = self._windows.current.page.url
        is_live = self._local is None
        context = Context(last_url, self._sites, self._admin, is_live=is_live)
        return {
            "contents": [
                content_of(placed(dict(target), self._sites), self._windows.current, context)
                for target in request["targets"]
            ]
        }

    def close(self) -> None:
        """End window, browser and sites."""
        self._exits.close()

    def _kept_har(self, folder: Path) -> str:
        assert self._har is not None, "it takes records_har"
        self._windows.leave()  # which writes it
        kept = folder / self._har.name
        keep_har(self._har, kept)
        self._har.unlink()  # or the next episode could pass it off as its own
        return str(kept)

    def _state(self, name: str | None, sites: Sequence[str]) -> Any:
        if name is None:
            return None
        if self._local is not None:
            return self._local.storage_state(sites)
        return str(Path(self._states or ".") / name)

    def _look(self) -> str:
        window = self._windows.current
        seen = window.look()
        return f"{window.tabs()}\n\n{seen.text}\n\nURL: {window.page.url}"

    def _repeats(self) -> bool:
        """The published harness's early stop."""
        last = self._taken[-1]
        if last.name == "type":
            return self._taken.count(last) >= self._repetitions
        recent = self._taken[-self._repetitions :]
        return len(recent) == self._repetitions and all(each == last for each in recent)
