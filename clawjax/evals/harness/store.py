"""The files of one suite's run: trajectories, scores, manifest, and what episodes left besides.

Invariant: both JSONL files are only appended to, except that `rescore` replaces the scores in one
step. The last line of a task and trial counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clawjax.errors import ConfigError
from clawjax.evals.harness.trajectory import Score, Trajectory, from_json, to_json
from clawjax.files import replace_file
from clawjax.metrics.jsonl import JsonlAppender, read_jsonl

__all__ = ["EpisodeStore"]

Key = tuple[str, int, int]


class EpisodeStore:
    """A folder with the episodes of one suite and one agent."""

    def __init__(self, folder: Path) -> None:
        """Nothing is created before something is written."""
        self.folder = folder

    @property
    def _trajectories(self) -> Path:
        return self.folder / "trajectories.jsonl"

    @property
    def _scores(self) -> Path:
        return self.folder / "scores.jsonl"

    def claim(self, manifest: Mapping[str, Any]) -> None:
        """Write down what is measured here; a second time it has to be the same.

        Raises:
            ConfigError: the folder holds another evaluation.
        """
        path = self.folder / "manifest.json"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, json.dumps(manifest, indent=1) + "\n")
            return
        held = json.loads(path.read_text(encoding="utf-8"))
        wanted = json.loads(json.dumps(manifest))
        if told := ", ".join(_differences(held, wanted)):
            msg = f"{self.folder} holds another evaluation ({told}): use another run.name"
            raise ConfigError(msg)

    def episode(self, task_id: str, trial: int, attempt: int) -> Path:
        """Where files of an episode belong, absolute; its environment makes it if it has any."""
        return self.folder.resolve() / "episodes" / f"{quote(task_id, safe='')}.{trial}.{attempt}"

    def keep(self, trajectory: Trajectory) -> None:
        """Append one episode."""
        self._append(self._trajectories, to_json(trajectory))

    def keep_score(self, trajectory: Trajectory, score: Score, version: str) -> None:
        """Append what version `version` of the suite made of it."""
        self._append(self._scores, _score_line(trajectory, score, version))

    def replace_scores(self, scored: Iterable[tuple[Trajectory, Score]], version: str) -> None:
        """All scores anew, by that version of the suite."""
        lines = [json.dumps(_score_line(*pair, version), allow_nan=False) + "\n" for pair in scored]
        replace_file(self._scores, "".join(lines))

    def trajectories(self) -> dict[tuple[str, int], Trajectory]:
        """The newest of every task and trial, in order of their first appearance."""
        found: dict[tuple[str, int], Trajectory] = {}
        for entry in read_jsonl(self._trajectories):
            trajectory = from_json(Trajectory, entry)
            found[trajectory.key] = trajectory
        return found

    def scores(self) -> dict[Key, tuple[str, Score]]:
        """By task, trial and attempt: version of the suite that scored, and score."""
        return {
            (entry["task_id"], entry["trial"], entry["attempt"]): (
                entry["suite_version"],
                from_json(Score, entry["score"]),
            )
            for entry in read_jsonl(self._scores)
        }

    def write(self, name: str, content: str) -> Path:
        """A report beside them, replaced in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        replace_file(path, content.encode("utf-8", "backslashreplace"))
        return path

    def _append(self, path: Path, entry: Mapping[str, Any]) -> None:
        appender = JsonlAppender(path)
        try:
            appender.append(entry)
        finally:
            appender.close()


def _differences(held: Mapping[str, Any], wanted: Mapping[str, Any], of: str = "") -> Iterator[str]:
    """What differs, setting by setting; what one of them lacks is null there."""
    for key in {**held, **wanted}:
        one, other = held.get(key), wanted.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other, f"{of}{key}.")
        elif one != other:
            there = repr(one) if key in held else "not written down"
            yield f"{of}{key}: {there} there, {other!r} now"


def _score_line(trajectory: Trajectory, score: Score, version: str) -> dict[str, Any]:
    return {
        "task_id": trajectory.task_id,
        "trial": trajectory.trial,
        "attempt": trajectory.attempt,
        "suite_version": version,
        "score": to_json(score),
    }
