"""Weights & Biases, beside `metrics.jsonl` and never instead of it. The only importer of wandb.

A `WandbMirror` reads the run's `metrics.jsonl` as it grows and forwards it, from any process. Its
calls wait for W&B's own process, which may be stuck: `mirroring.Mirroring` waits for none of them.
Invariant: an entry is forwarded once; where the mirror stands is kept in the run's folder, so that
a restarted run goes on. Online that is in the same W&B run. Of two offline runs with one id
`wandb sync` keeps the later alone: what was begun or is gone on with offline gets an id of its own
each time, in a group that is called as the first was. Trouble with W&B never stops a run.
"""

from __future__ import annotations

import json
import logging
import math
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from clawjax.files import replace_file
from clawjax.metrics.jsonl import JsonlTail

if TYPE_CHECKING:
    from wandb.sdk.wandb_run import Run

__all__ = ["WandbMirror", "effective_mode"]

logger = logging.getLogger(__name__)

_STATE_FILE = "wandb.json"
_PLOT_KEY = "report"
_SERVICE = "wandb-core"
_OF_WANDB = {name: name for name in ("online", "offline", "disabled")}
_OF_WANDB |= {"run": "online", "dryrun": "offline"}
"""Of its own `WANDB_MODE`, older names included."""
_INIT_TIMEOUT_S = 15.0
_FINISH_TIMEOUT_S = 30.0
_SECRET_WORDS = ("key", "token", "secret", "password")
_HIDDEN = "***"
_NOT_SECRET = ("_tokens", "tokens_", "api_key_env", "_per_key")


def effective_mode(mode: str) -> str:
    """Resolve `auto`: as `WANDB_MODE` says, else online where a key is set, offline otherwise."""
    if mode != "auto":
        return mode
    by_key = "online" if os.environ.get("WANDB_API_KEY") else "offline"
    return _OF_WANDB.get(os.environ.get("WANDB_MODE", "").strip().lower(), by_key)


class WandbMirror:
    """Forwards one run's metrics to one W&B run."""

    def __init__(self, run: Run, run_dir: Path, tail: JsonlTail, part: Mapping[str, Any]) -> None:
        """Wrap a W&B run, which is a `part` of what is mirrored; use `start` to get one."""
        self._run = run
        self._run_dir = run_dir
        self._tail = tail
        self._part = part
        self._is_broken = False
        self._is_noted = True

    @classmethod
    def start(
        cls,
        run_dir: Path,
        config: Mapping[str, Any],
        *,
        mode: str = "auto",
        project: str = "clawjax",
        name: str | None = None,
    ) -> WandbMirror | None:
        """Begin or go on with the mirror; None where disabled, not installed, or it fails.

        Where W&B cannot be reached, the run is kept offline; finding that out takes up to 15 s.

        Args:
            run_dir: holds `metrics.jsonl`; gets `wandb/` and `wandb.json`.
            config: shown with the run; entries that look like credentials are left out.
            mode: auto, online, offline or disabled.
            project: W&B's project.
            name: the run's display name.
        """
        chosen = effective_mode(mode)
        if chosen == "disabled":
            return None
        try:
            import wandb
        except ImportError:
            logger.warning("wandb is not installed: metrics go to metrics.jsonl alone")
            return None
        state = _load_state(run_dir)
        options = {"project": project, "name": name, "dir": str(run_dir)}
        options["config"] = without_secrets(config)
        for attempt in dict.fromkeys((chosen, "offline")):
            part = _part(attempt, state)
            run = _begin(wandb, attempt, options | {key: part[key] for key in ("id", "group")})
            if run is not None:
                run.define_metric("*", step_metric="unix_time")
                for per_version in ("train/*", "eval/*"):
                    run.define_metric(per_version, step_metric="policy_version")
                tail = JsonlTail.at(run_dir / "metrics.jsonl", state)
                mirror = cls(run, run_dir, tail, part)
                mirror._save_state()
                return mirror
        return None

    @property
    def run_id(self) -> str:
        """W&B's id of the run."""
        return self._run.id

    def forward(self) -> int:
        """Send what `metrics.jsonl` has gained since the last call; returns the number of entries.

        W&B buffers in a process of its own, so this does not wait for the network. Where that
        process has died nothing is sent any more; `metrics.jsonl` has it all.
        """
        import wandb

        count = 0
        try:
            for entry in () if self._is_broken else self._tail.read():
                self._run.log(_for_wandb(entry))
                count += 1
        except (wandb.Error, OSError) as error:
            self._is_broken = True
            logger.warning("W&B takes no metrics any more: %s", error)
        if count and not self._is_broken:
            self._save_state()
        return count

    def finish(
        self,
        *,
        summary: Mapping[str, Any] | None = None,
        plot: Path | None = None,
        is_failed: bool = False,
    ) -> None:
        """Send the rest, the summary (nested keys joined by dots) and the plot; then close.

        What `is_failed` is shown as such.

        Waits for uploads for a bounded time; what is not uploaded by then stays on disk.
        """
        import wandb

        self.forward()
        if self._is_broken:
            return
        try:
            if plot is not None and plot.exists():
                self._run.log({_PLOT_KEY: wandb.Image(str(plot))})
            self._run.summary.update(_flat(summary or {}))
            self._run.finish(exit_code=int(is_failed))
        except (wandb.Error, OSError) as error:
            logger.warning("W&B did not finish cleanly: %s", error)

    def abandon(self) -> None:
        """Kill W&B's process, from any thread: this one's end would wait for it without a limit."""
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):
                if child.name() == _SERVICE:
                    child.kill()

    def _save_state(self) -> None:
        """Note what was sent; where the disk takes no note, it may be sent twice."""
        state = {**self._part, "id": self._run.id, **self._tail.mark()}
        try:
            replace_file(self._run_dir / _STATE_FILE, json.dumps(state), durably=False)
        except OSError as error:
            if self._is_noted:
                logger.warning("how far W&B has been told is not kept: %s", error)
            self._is_noted = False
        else:
            self._is_noted = True


def _part(mode: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """Which W&B run is begun or gone on with; an id that is None is W&B's to choose."""
    group = state.get("group") or state.get("id")
    if mode == state.get("mode", mode) == "online":
        return {"mode": mode, "id": state.get("id"), "group": state.get("group")}
    return {"mode": mode, "id": uuid.uuid4().hex[:8] if state else None, "group": group}


def _begin(wandb: Any, mode: str, options: Mapping[str, Any]) -> Run | None:
    """One attempt; None, with a warning, where W&B does not start in this mode."""
    settings = _settings(wandb)
    resume = "allow" if mode == "online" else None
    try:
        wandb.setup(settings=settings)
        return wandb.init(mode=mode, resume=resume, settings=settings, **options)
    except (wandb.Error, OSError) as error:
        logger.warning("W&B does not start %s: %s", mode, error)
        return None


def without_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without entries that are named like credentials, nor such options' values."""
    return {key: _shown(value) for key, value in config.items() if not _is_secret(str(key))}


def _shown(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value)
    if not isinstance(value, list | tuple):
        return value
    words, before = [], ""
    for word in value:
        name, equals, _ = word.partition("=") if isinstance(word, str) else ("", "", "")
        if _is_secret_option(before):
            words.append(_HIDDEN)
        elif equals and _is_secret_option(name):
            words.append(f"{name}={_HIDDEN}")
        else:
            words.append(_shown(word))
        before = word
    return words


def _is_secret_option(word: object) -> bool:
    return isinstance(word, str) and word.startswith("--") and _is_secret(word.lstrip("-"))


def _is_secret(key: str) -> bool:
    lowered = key.lower().replace("-", "_")
    if any(word in lowered for word in _NOT_SECRET):
        return False
    return any(lowered == word or lowered.endswith(f"_{word}") for word in _SECRET_WORDS)


def _settings(wandb: Any) -> Any:
    """Silent, and without what would cost time: console capture, machine statistics, git."""
    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        init_timeout=_INIT_TIMEOUT_S,
        finish_timeout=_FINISH_TIMEOUT_S,
    )


def _for_wandb(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and texts, with what to plot them against: policy version or time."""
    values = {
        key: value
        for key, value in entry.items()
        if "/" in key and (_is_number(value) or isinstance(value, str))
    }
    if entry.get("step") is not None:
        values["policy_version"] = entry["step"]
    return values | {"unix_time": entry.get("t")}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _load_state(run_dir: Path) -> dict[str, Any]:
    path = run_dir / _STATE_FILE
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError:
        logger.warning("%s is not readable: a new W&B run begins", path)
        return {}
