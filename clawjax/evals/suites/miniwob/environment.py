"""One MiniWoB++ page after the other, in one Chromium.

The goal is read and taken off the page, with what it shows to people (reward, clock), as
BrowserGym does. Reward is 1 where the raw reward is above 0: the other one shrinks with time.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

from clawjax.evals.harness.tasks import ANSWER, Action, Setup
from clawjax.evals.harness.trajectory import StepResult
from clawjax.evals.suites.miniwob.pages import PageServer, page_seed
from clawjax.evals.web.session import RefusedError
from clawjax.evals.web.windows import Windows

__all__ = ["MiniWobEnvironment"]

_VIEWPORT = (332, 214)
_EPISODE_MS = 1_000_000
_READY_MS = 30_000
_START = """([seed, time]) => {
    const style = document.createElement("style");
    style.textContent =
        "#reward-display, #click-canvas, #sync-task-cover {display: none !important}";
    document.head.appendChild(style);
    Math.seedrandom(seed);
    core.EPISODE_MAX_TIME = time;
    core.startEpisodeReal();
}"""
_GOAL = """() => {
    const goal = core.getUtterance();
    document.getElementById("query").innerHTML = "";
    return goal;
}"""
_STATE = "() => [WOB_RAW_REWARD_GLOBAL, WOB_DONE_GLOBAL, WOB_REWARD_REASON]"


class MiniWobEnvironment:
    """`Environment` of one task after the other."""

    def __init__(self, *, pages: str, settle_s: float = 0.1) -> None:
        """Start the browser.

        Args:
            pages: MiniWoB++'s `html` folder.
            settle_s: waited on the first page and after each action, seconds.
        """
        self._exits = contextlib.ExitStack()
        self._server = PageServer(Path(pages))
        self._exits.callback(self._server.close)
        self._windows = self._exits.enter_context(Windows(["127.0.0.1"]))
        self._settle_s = settle_s
        self._url = ""
        self._end: dict[str, Any] = {}

    def reset(self, setup: Setup) -> str:
        """The goal, and the page."""
        window = self._windows.open(
            origins=[self._server.url],
            settle_s=self._settle_s,
            viewport=_VIEWPORT,
        )
        self._url = f"{self._server.url}/miniwob/{setup.options['page']}.html"
        window.open([self._url])
        page = window.page
        page.evaluate(_START, [page_seed(setup.options["seed"]), _EPISODE_MS])
        page.wait_for_function("() => WOB_TASK_READY", timeout=_READY_MS)
        goal = page.evaluate(_GOAL)
        text = goal["utterance"] if isinstance(goal, dict) else goal
        self._end = self._state()
        return f"Goal: {text}\n\n{window.look().text}"

    def step(self, action: Action) -> StepResult:
        """One action of the suite's tools."""
        if action.name == ANSWER:
            return StepResult("", is_done=True)
        problem: str | None = None
        resolved = self._windows.current.resolved(action)
        try:
            self._windows.current.carry_out(action)
        except RefusedError as refused:
            problem = str(refused)
        self._end = self._state()
        if self._end["is_done"]:
            return StepResult(
                "The episode is over.", is_done=True, reward=self._end["reward"], resolved=resolved
            )
        seen = self._windows.current.look().text
        state = hashlib.sha256(seen.encode()).hexdigest()
        text = (
            seen if problem is None else f"{action.name} was not carried out: {problem}\n\n{seen}"
        )
        return StepResult(
            text, is_valid=problem is None, error=problem, state=state, resolved=resolved
        )

    def snapshot(self) -> Mapping[str, Any]:
        """Reward, and the page's reason for it."""
        return self._end

    def inspect(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The snapshot says it all."""
        return {}

    def close(self) -> None:
        """End window, browser and server."""
        self._exits.close()

    def _state(self) -> dict[str, Any]:
        """Leaving the page ends the episode without reward; a link to `#` does not leave it."""
        page = self._windows.current.page
        if urldefrag(page.url).url != self._url:
            return {"raw_reward": 0.0, "reward": 0.0, "is_done": True, "reason": "left the page"}
        raw, is_done, reason = page.evaluate(_STATE)
        return {
            "raw_reward": float(raw),
            "reward": float(raw > 0),
            "is_done": bool(is_done),
            "reason": None if reason is None else str(reason),
        }
