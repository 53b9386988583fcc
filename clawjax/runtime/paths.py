"""Where a run keeps its files. Owns the folder's layout; nothing else spells a file name."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.files import lock, replace_file, sweep

__all__ = ["RunPaths", "note_json", "read_json", "write_json"]

logger = logging.getLogger(__name__)

_LOCK_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The files of one run."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, without secrets."""
        return self.root / "config.yaml"

    @property
    def weights(self) -> Path:
        """The weight store."""
        return self.root / "weights"

    @property
    def served(self) -> Path:
        """Versions as directories that other engines load."""
        return self.root / "served"

    @property
    def metrics(self) -> Path:
        """One JSON object per line, from every process."""
        return self.root / "metrics.jsonl"

    @property
    def score(self) -> Path:
        """What the run is worth, `{"score": ...}`; there once it is over."""
        return self.root / "score.json"

    @property
    def learner_status(self) -> Path:
        """The learner's heartbeat."""
        return self.root / "learner_status.json"

    @property
    def processes(self) -> Path:
        """What has become of each process, by the supervisor."""
        return self.root / "processes.json"

    @property
    def hack_watch(self) -> Path:
        """Whether the reward rises while what it stands for falls."""
        return self.root / "hack_watch.json"

    @property
    def clock(self) -> Path:
        """Seconds and peak memory of earlier starts of this run."""
        return self.root / "clock.json"

    @property
    def log_owner(self) -> Path:
        """The run's id, by which its turn log knows whose learner may learn from it."""
        return self.root / "log_owner"

    @property
    def settings(self) -> Path:
        """What decides what is learnt, of a run with a simulated user."""
        return self.root / "settings.json"

    @property
    def offline_settings(self) -> Path:
        """The same of a run that trains on a data set."""
        return self.root / "offline_settings.json"

    @property
    def synthesis_settings(self) -> Path:
        """What decides which conversations are made up here."""
        return self.root / "synthesis_settings.json"

    def process_log(self, name: str) -> Path:
        """What a process has to say."""
        return self.root / "logs" / f"{name}.log"

    def prepare(self) -> None:
        """Create the folder and show that it can be written.

        Only its owner may enter a new one, as it will hold what people said; one that was prepared
        before keeps its mode.

        Raises:
            ConfigError: it cannot.
        """
        try:
            logs = self.root / "logs"
            if not logs.is_dir():
                logs.mkdir(parents=True)
                self.root.chmod(0o700)
            probe = self.root / ".writable"
            probe.write_text("")
            probe.unlink()
            sweep(self.root, *(path for path in self.root.iterdir() if path.is_dir()))
        except OSError as error:
            msg = (
                f"run.dir={self.root} cannot be written ({error.strerror}): "
                "choose another with hydra.run.dir=..., or fix its permissions"
            )
            raise ConfigError(msg) from error

    @contextmanager
    def locked(self, name: str = "lock", *, wait_s: float = 0.0) -> Generator[None]:
        """Hold the run for this process; the lock goes with the process, however it ends.

        Args:
            name: of the lock's file; each is a lock of its own.
            wait_s: how long another process may take to let go of it.

        Raises:
            ConfigError: another process holds it.
        """
        with (self.root / name).open("w") as file:
            if not lock(file, wait_s=wait_s, poll_s=_LOCK_POLL_S):
                msg = f"run.dir={self.root} is in use by another process: stop it, or set run.name"
                raise ConfigError(msg)
            yield


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file in one step, so that readers never see half of it."""
    replace_file(path, json.dumps(value), durably=False)


def note_json(path: Path, value: Mapping[str, Any]) -> None:
    """`write_json` for what is worth noting but not worth stopping for."""
    try:
        write_json(path, value)
    except OSError as error:
        logger.warning("%s is out of date: %s", path, error)


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote; empty when it is not there yet, or a power cut emptied it."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        logger.warning("%s is not readable and counts as empty", path)
        return {}
