"""Versions as Hugging Face directories, for servers that load their weights from a disk.

A full version is its own files beside the base's configuration and tokenizer, linked; an adapter
is merged into the base's files once; version 0 is the base model. Invariants: a directory appears
complete or not at all (written aside, renamed) and never changes; none is removed that somebody
holds; what was checked against the store's checksums is all that gets here.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath

from clawjax.errors import StoreError
from clawjax.files import sync
from clawjax.models.huggingface import HuggingFaceSource
from clawjax.models.layout import leaves
from clawjax.models.load import Source
from clawjax.models.merged import link, read_adapter, write_merged
from clawjax.models.registry import config_from_architecture
from clawjax.models.stream import Stored, write_tensors
from clawjax.protocols import BASE_KIND, WeightVersion
from clawjax.weights.disk import disk_errors, to_json
from clawjax.weights.manifest import files_of, read_manifest, verify

__all__ = ["ModelDirectories", "is_a_version"]

_ASIDE = ".aside-"
_ORIGIN = "made_from.json"
_BASE = "base"
_DIGITS = 6
_NOT_TEXT = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx")
_INDEX = "model.safetensors.index.json"


def is_a_version(path: str) -> bool:
    """Whether a directory is called like one that is made here."""
    name = PurePath(path).name
    return name == _BASE or (len(name) >= _DIGITS and name.isdecimal())


class ModelDirectories:
    """Makes the directory of a version when it is first asked for. Thread-safe, synchronous."""

    def __init__(self, root: Path, base: Source, *, keep: int = 2) -> None:
        """Name where they are made; nothing is created before the first `held`.

        Args:
            root: on a disk that the servers see under the same path.
            base: the model that adapters were trained from.
            keep: how many stay, apart from version 0 and those that are held; two, so that a
                server that fails to load the newest finds what it had.
        """
        self.root = Path(root).absolute()
        self._base_source = base
        self._base_id = base.base_id()
        self._keep = max(keep, 1)
        self._holders: Counter[Path] = Counter()
        self._lock = threading.Lock()  # protects the directories and `_holders`

    @contextmanager
    def held(self, weights: WeightVersion) -> Generator[Path]:
        """The directory of a version, which stays until this is left.

        Raises:
            StoreError: damaged, of another base model, not finite, or the disk refuses.
        """
        with self._lock, disk_errors(self.root):
            path = self._made(weights)
            self._holders[path] += 1
            self._prune(keeping=path)
        try:
            yield path
        finally:
            with self._lock:
                self._holders[path] -= 1

    def _made(self, weights: WeightVersion) -> Path:
        if weights.kind == BASE_KIND:
            return self._base()
        origin = self._origin(weights)
        path = self.root / f"{weights.version:0{_DIGITS}d}"
        if _read_origin(path) == origin:
            return path
        manifest = read_manifest(weights.path)
        verify(weights.path, manifest)
        base = self._base()
        with self._aside(path) as aside:
            if weights.kind == "full":
                link(weights.path / files_of("full")[0], aside / files_of("full")[0])
                _link_texts(base, aside, without=(_INDEX,))
            else:
                files = HuggingFaceSource(base).weight_files()
                write_merged(aside, files, read_adapter(weights.path))
                _link_texts(base, aside)
            (aside / _ORIGIN).write_bytes(to_json(origin))
        return path

    def _origin(self, weights: WeightVersion) -> dict[str, object]:
        """What tells a directory of these weights from one of the same number in another run."""
        if weights.base_model != self._base_id:
            msg = (
                f"weights {weights.version} were trained from {weights.base_model!r}, the servers "
                f"have {self._base_id!r}: serve that model or use another run.dir"
            )
            raise StoreError(msg)
        weights_file, _ = files_of(weights.kind)
        return {
            "version": weights.version,
            "kind": weights.kind,
            "base_model": weights.base_model,
            "sha256": read_manifest(weights.path)["files"][weights_file]["sha256"],
        }

    def _base(self) -> Path:
        """The base model as a Hugging Face directory; written once where it is something else."""
        if isinstance(self._base_source, HuggingFaceSource):
            return self._base_source.directory.absolute()
        path, origin = self.root / _BASE, {"base_model": self._base_id}
        if _read_origin(path) != origin:
            with self._aside(path) as aside:
                _write_model(aside, self._base_source)
                (aside / _ORIGIN).write_bytes(to_json(origin))
        return path

    @contextmanager
    def _aside(self, path: Path) -> Generator[Path]:
        """A directory to fill, which takes its place when this is left without an error."""
        self.root.mkdir(parents=True, exist_ok=True)
        for leftover in self.root.glob(f"{_ASIDE}*"):  # of a process that died
            shutil.rmtree(leftover)
        aside = self.root / f"{_ASIDE}{path.name}-{os.getpid()}"
        aside.mkdir()
        try:
            yield aside
            sync(aside)
            if path.exists():
                self._remove(path)
            os.replace(aside, path)
            sync(self.root)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _prune(self, *, keeping: Path) -> None:
        if not self.root.is_dir():
            return
        made = sorted(path for path in self.root.iterdir() if path.name.isdecimal())
        others = [path for path in made if path != keeping and not self._holders[path]]
        for path in others[: max(0, len(others) - self._keep + 1)]:
            self._remove(path)

    def _remove(self, path: Path) -> None:
        """Rename first, so that no reader meets half a directory."""
        if self._holders[path]:
            msg = f"{path} is of another run and is being read: use another run.dir"
            raise StoreError(msg)
        gone = self.root / f"{_ASIDE}gone-{path.name}-{os.getpid()}"
        os.replace(path, gone)
        shutil.rmtree(gone)


def _read_origin(path: Path) -> Mapping[str, object] | None:
    try:
        return json.loads((path / _ORIGIN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _link_texts(base: Path, directory: Path, *, without: tuple[str, ...] = ()) -> None:
    """Configuration, tokenizer and template: all that is a file and holds no weights."""
    for file in sorted(base.iterdir()):
        is_text = file.is_file() and file.suffix not in _NOT_TEXT
        if is_text and file.name not in (*without, _ORIGIN) and not file.name.startswith("."):
            link(file, directory / file.name)


def _write_model(directory: Path, source: Source) -> None:
    """A whole model in fp32, tensor by tensor."""
    architecture, tensors = source.architecture(), source.tensors()
    layout = [Stored(leaf.tensor, "F32", leaf.shape) for leaf in leaves(architecture)]
    write_tensors(directory / "model.safetensors", layout, tensors.__getitem__)
    tokenizer = source.tokenizer()
    ends = {"eos_token_id": sorted(tokenizer.eos_ids)}
    (directory / "config.json").write_bytes(to_json(config_from_architecture(architecture) | ends))
    (directory / "generation_config.json").write_bytes(to_json(ends))
    tokenizer.save(directory)
