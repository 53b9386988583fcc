"""Versions of the reward model on disk: `000001/{model.safetensors, manifest.json}`, `ADOPTED`.

Invariants: a version is complete or not there (written aside, renamed), and its manifest has its
checksum; `ADOPTED` names the one that judges, and only ever moves to a version that beat it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clawjax.errors import StoreError
from clawjax.files import replace_file
from clawjax.rewards.reward_head import RewardHead

__all__ = ["RewardModelStore", "StoredModel"]

_MODEL, _MANIFEST, _ADOPTED = "model.safetensors", "manifest.json", "ADOPTED"


class StoredModel(NamedTuple):
    """A version that was read and verified."""

    version: int
    head: RewardHead
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """sha256 of the weights."""
        return self.manifest["sha256"]


class RewardModelStore:
    """One folder of versions. One trainer writes; any number of judges read."""

    def __init__(self, folder: Path) -> None:
        """Look into `folder`, which need not exist before the first version is written."""
        self._folder = folder

    def versions(self) -> list[int]:
        """All complete versions, oldest first."""
        return sorted(
            int(path.name)
            for path in self._folder.glob("[0-9]" * 6)
            if (path / _MANIFEST).is_file()
        )

    def adopted(self) -> int | None:
        """The version that judges; None before the first was adopted."""
        file = self._folder / _ADOPTED
        return int(file.read_text(encoding="utf-8")) if file.is_file() else None

    def load(self, version: int | None = None) -> StoredModel:
        """Read a version; None: the one adopted.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        chosen = self.adopted() if version is None else version
        if chosen is None:
            msg = (
                f"{self._folder} has no adopted reward model: train one with "
                "`python experiments/train_reward_model.py`, or set reward.reward_model.path"
            )
            raise StoreError(msg)
        folder = self._folder / f"{chosen:06d}"
        try:
            manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
            content = (folder / _MODEL).read_bytes()
        except (OSError, ValueError) as error:
            msg = f"reward model version {chosen} in {self._folder} cannot be read: {error}"
            raise StoreError(msg) from error
        if hashlib.sha256(content).hexdigest() != manifest.get("sha256"):
            msg = f"{folder / _MODEL} is not what its manifest says: remove it and train again"
            raise StoreError(msg)
        return StoredModel(chosen, RewardHead.load(folder / _MODEL), manifest)

    def write(self, head: RewardHead, about: Mapping[str, Any]) -> StoredModel:
        """Keep a new version; it does not judge before it is adopted."""
        version = max(self.versions(), default=0) + 1
        aside = self._folder / f".{version:06d}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        head.save(aside / _MODEL)
        digest = hashlib.sha256((aside / _MODEL).read_bytes()).hexdigest()
        manifest = {"version": version, "sha256": digest, **about}
        (aside / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        os.replace(aside, self._folder / f"{version:06d}")
        return StoredModel(version, head, manifest)

    def adopt(self, version: int) -> None:
        """Let a version judge from now on.

        Raises:
            StoreError: there is no such version.
        """
        if version not in self.versions():
            msg = f"{self._folder} has no version {version}: it has {self.versions()}"
            raise StoreError(msg)
        replace_file(self._folder / _ADOPTED, f"{version}\n")
