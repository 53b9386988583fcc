"""Weights that somebody put on a disk, as the engine reads them.

Owns what a directory is taken for: one of our versions (with `manifest.json`, which is verified), a
PEFT adapter, or a Hugging Face model, in this order. Versions are numbered as they come, which is
all that the engine sees of them; what clients call them is a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.numpy import load_file

from clawjax.errors import ConfigError, StoreError
from clawjax.models.huggingface import HuggingFaceSource
from clawjax.protocols import BASE_KIND, WeightVersion
from clawjax.weights.manifest import MANIFEST, files_of, read_manifest, to_version, verify

if TYPE_CHECKING:
    import numpy as np

__all__ = ["WeightShelf"]

_ADAPTER_CONFIG = "adapter_config.json"


class WeightShelf:
    """`adoption.WeightReader` over directories that are named one by one."""

    def __init__(self, base_id: str, label: str) -> None:
        """Begin with the base model, version 0, under what clients are to call it."""
        self._base_id = base_id
        self._labels = {0: label}
        self._places: dict[int, WeightVersion] = {
            0: WeightVersion(0, Path(), None, 0, base_id, BASE_KIND)
        }

    def label(self, version: int) -> str:
        """What clients call a version."""
        return self._labels[version]

    def place(self, path: Path, label: str | None = None) -> WeightVersion:
        """Give a directory a number. Its tensors are not read before `load`.

        Args:
            path: the directory.
            label: what clients call it; by default the number that its manifest says, else its
                name.

        Raises:
            StoreError: nothing there that can be served, or a manifest that is not borne out.
        """
        if not path.is_dir():
            msg = f"{path} is not a directory on this machine: name one that this server can read"
            raise StoreError(msg)
        number = max(self._places) + 1
        kind, base_id, name = self._described(path)
        self._labels[number] = name if label is None else label
        self._places[number] = WeightVersion(number, path, None, 0, base_id, kind)
        return self._places[number]

    def latest(self) -> WeightVersion | None:
        """None: the base model is served at first."""
        return None

    def load(self, version: int) -> tuple[WeightVersion, Mapping[str, np.ndarray]]:
        """Read a version.

        Raises:
            StoreError: a file is missing or damaged.
        """
        placed = self._places[version]
        try:
            match placed.kind:
                case "base":
                    return placed, {}
                case "adapter":
                    return placed, load_file(placed.path / files_of("adapter")[0])
                case _:
                    return placed, HuggingFaceSource(placed.path).tensors()
        except (ConfigError, OSError, SafetensorError) as error:
            msg = f"{placed.path} cannot be read ({error}): write it again"
            raise StoreError(msg) from error

    def _described(self, path: Path) -> tuple[str, str, str]:
        """Kind, base model, and what it calls itself."""
        if (path / MANIFEST).is_file():
            manifest = read_manifest(path)
            verify(path, manifest)
            found = to_version(path, manifest)
            return found.kind, found.base_model, str(found.version)
        if (path / _ADAPTER_CONFIG).is_file():
            return "adapter", self._base_id, path.name
        if (path / "config.json").is_file():
            return "full", self._base_id, path.name
        msg = f"{path} holds neither {_ADAPTER_CONFIG} nor config.json: it is no model"
        raise StoreError(msg)
