"""The weight store on a file system: every published policy, versioned and verifiable.

Owns `weights/000042/` (safetensors, the configuration that its readers expect, `manifest.json`)
and `LATEST`. Invariants: a version appears complete or not at all (written aside, synced, renamed)
and never changes afterwards; nothing is handed out whose checksum does not match; version 0 is the
base model and has no directory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from clawjax.errors import StoreError
from clawjax.protocols import WeightVersion

__all__ = ["DirectoryWeightStore"]

_log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_LATEST = "LATEST"
_ASIDE = ".aside-"
_FILES = {
    "adapter": ("adapter_model.safetensors", "adapter_config.json"),
    "full": ("model.safetensors", "config.json"),
}
_MANIFEST_TYPES = {
    "version": int,
    "parent": (int, NoneType),
    "step": int,
    "base_model": str,
    "kind": str,
    "config": dict,
}
_READ_BYTES = 1 << 20


class DirectoryWeightStore:
    """`protocols.WeightStore` in a directory. One writer, any number of reading processes."""

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Name the directory; nothing is created before the first `publish`."""
        self.root = Path(root)
        self._clock = clock
        self._complaints: set[str] = set()

    def publish(
        self,
        tensors: Mapping[str, np.ndarray],
        *,
        version: int,
        parent: int | None,
        step: int,
        base_model: str,
        kind: str,
        config: Mapping[str, object],
    ) -> WeightVersion:
        """Write aside, checksum, rename, then move `LATEST`; a second time is a no-op.

        Raises:
            StoreError: the disk refuses, or the version exists with other contents.
        """
        if version < 1:
            msg = f"version {version} cannot be published: 0 is the base model, start at 1"
            raise StoreError(msg)
        weights_name, config_name = _files_of(kind)
        contents = {
            weights_name: save(_contiguous(tensors), metadata={"format": "pt"}),
            config_name: _to_json(config),
        }
        manifest = {
            "version": version,
            "parent": parent,
            "step": step,
            "kind": kind,
            "base_model": base_model,
            "config": dict(config),
            "files": {name: _describe(content) for name, content in contents.items()},
            "created_at": self._clock(),
        }
        with _disk_errors(self.root):
            self._clean()
            if not self._is_published(version, manifest):
                self._write(version, {**contents, _MANIFEST: _to_json(manifest)})
            self._point_to(version)
        return _to_version(self._path(version), manifest)

    def latest(self) -> WeightVersion | None:
        """The newest complete version; None means the base model (version 0).

        Reads `LATEST`, a file of a few bytes; only where that is damaged, the directories.

        Raises:
            StoreError: the directory cannot be read.
        """
        with _disk_errors(self.root):
            named = self._named()
            if named is not None:
                return named
            return next(filter(None, map(self._complete, self._versions())), None)

    def load(self, version: int) -> tuple[WeightVersion, dict[str, np.ndarray]]:
        """Read and verify a version.

        Raises:
            StoreError: missing, incomplete or damaged; names the file and what to do.
        """
        path = self._path(version)
        with _disk_errors(path):
            manifest = _read_manifest(path)
            found = _to_version(path, manifest)
            _verify(path, manifest)
            weights = path / _files_of(found.kind)[0]
            try:
                return found, load_file(weights)
            except SafetensorError as error:
                msg = f"{weights} is not a safetensors file ({error}): {_REMEDY}"
                raise StoreError(msg) from error

    def _path(self, version: int) -> Path:
        return self.root / f"{version:06d}"

    def _versions(self) -> list[int]:
        """Version numbers found, newest first, complete or not."""
        if not self.root.is_dir():
            return []
        names = (entry.name for entry in self.root.iterdir() if entry.is_dir())
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def _named(self) -> WeightVersion | None:
        try:
            name = (self.root / _LATEST).read_text(encoding="ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        return self._complete(int(name)) if name.isdecimal() else None

    def _complete(self, version: int) -> WeightVersion | None:
        """The version if its manifest is readable and its files have the right sizes."""
        path = self._path(version)
        try:
            manifest = _read_manifest(path)
            _check_sizes(path, manifest)
            return _to_version(path, manifest)
        except (StoreError, FileNotFoundError) as error:
            self._complain(str(error))
            return None

    def _complain(self, problem: str) -> None:
        """Once, as the same version is looked at again and again."""
        if problem not in self._complaints:
            self._complaints.add(problem)
            _log.warning("a version is passed over: %s", problem)

    def _is_published(self, version: int, manifest: Mapping[str, Any]) -> bool:
        """Whether exactly this is there already; what is there but damaged is moved away."""
        path = self._path(version)
        if not path.exists():
            return False
        try:
            found = _read_manifest(path)
            _verify(path, found)
        except (StoreError, FileNotFoundError):
            self._discard(path)
            return False
        if found["files"] != manifest["files"]:
            msg = (
                f"{path} already holds other weights: a version never changes; "
                "move the directory away or use a new run.dir"
            )
            raise StoreError(msg)
        return True

    def _clean(self) -> None:
        """Remove what a writer that died left behind; there is only one writer, and it is this."""
        for leftover in self.root.glob(f"{_ASIDE}*"):
            shutil.rmtree(leftover)

    def _write(self, version: int, contents: Mapping[str, bytes]) -> None:
        aside = self.root / f"{_ASIDE}{version:06d}-{os.getpid()}"
        aside.mkdir(parents=True)
        for name, content in contents.items():
            _write_synced(aside / name, content)
        _sync(aside)
        os.replace(aside, self._path(version))
        _sync(self.root)

    def _point_to(self, version: int) -> None:
        named = self._named()
        if named is not None and named.version >= version:
            return
        aside = self.root / f"{_LATEST}.aside"
        _write_synced(aside, f"{version:06d}\n".encode())
        os.replace(aside, self.root / _LATEST)
        _sync(self.root)

    def _discard(self, path: Path) -> None:
        """Rename first, so that no reader meets half a directory."""
        aside = self.root / f"{_ASIDE}damaged-{path.name}-{os.getpid()}"
        os.replace(path, aside)
        shutil.rmtree(aside)


_REMEDY = "remove this version's directory; the newest complete one before it is used instead"


def _files_of(kind: str) -> tuple[str, str]:
    if kind not in _FILES:
        msg = f"weights of kind {kind!r} are unknown: use adapter or full"
        raise StoreError(msg)
    return _FILES[kind]


def _contiguous(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Safetensors writes memory as it lies: transposed views have to be laid out first."""
    return {name: np.ascontiguousarray(tensor) for name, tensor in sorted(tensors.items())}


def _to_json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _describe(content: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / _MANIFEST
    if not path.is_dir():
        msg = f"{path} does not exist: this version was never published or has been removed"
        raise StoreError(msg)
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        files = manifest["files"]
        for name, described in files.items():
            if Path(name).name != name:
                raise KeyError(name)
            _ = described["sha256"], int(described["bytes"])
        kind = _to_version(path, manifest).kind
        if sorted(files) != sorted(_FILES[kind]):
            msg = f"files are {sorted(files)}, not those of kind {kind}"
            raise ValueError(msg)
    except FileNotFoundError as error:
        msg = f"{file} is missing: {_REMEDY}"
        raise StoreError(msg) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{file} is not a manifest ({type(error).__name__}: {error}): {_REMEDY}"
        raise StoreError(msg) from error
    return manifest


def _to_version(path: Path, manifest: Mapping[str, Any]) -> WeightVersion:
    for name, kinds in _MANIFEST_TYPES.items():
        if not isinstance(manifest[name], kinds) or isinstance(manifest[name], bool):
            msg = f"{name} is {manifest[name]!r}"
            raise TypeError(msg)
    return WeightVersion(
        version=manifest["version"],
        path=path,
        parent=manifest["parent"],
        step=manifest["step"],
        base_model=manifest["base_model"],
        kind=manifest["kind"],
    )


def _verify(path: Path, manifest: Mapping[str, Any]) -> None:
    """Check the size and checksum of every file.

    Raises:
        StoreError: a file is missing, cut or altered, or the directory bears another number.
    """
    if path.name != f"{manifest['version']:06d}":
        msg = f"{path} says it is version {manifest['version']}: {_REMEDY}"
        raise StoreError(msg)
    _check_sizes(path, manifest)
    for name, described in manifest["files"].items():
        if _digest(path / name) != described["sha256"]:
            msg = f"{path / name} does not match its checksum: {_REMEDY}"
            raise StoreError(msg)


def _check_sizes(path: Path, manifest: Mapping[str, Any]) -> None:
    for name, described in manifest["files"].items():
        file = path / name
        if not file.is_file():
            msg = f"{file} is missing: {_REMEDY}"
            raise StoreError(msg)
        size = file.stat().st_size
        if size != described["bytes"]:
            msg = f"{file} has {size} bytes, expected {described['bytes']}: {_REMEDY}"
            raise StoreError(msg)


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _write_synced(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(directory: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = (
            f"weight store at {path}: {error.strerror or error}: make the path readable and "
            "writable, free some space, or choose another run.dir"
        )
        raise StoreError(msg) from error
