"""The weight store on a file system: every policy that was made, versioned and verifiable.

Owns `weights/000042/` (safetensors, the configuration that its readers expect, `manifest.json`)
and, through `Pointer`, which of them is served. Invariants: a version appears complete or not at
all (written aside, synced, renamed) and never changes afterwards; nothing is handed out whose
checksum does not match; a version is served only where the one it descends from was, or a person
said so; version 0 is the base model and has no directory.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from clawjax.errors import StoreError
from clawjax.files import sync, write_synced
from clawjax.protocols import BASE_KIND, Removed, WeightVersion
from clawjax.weights.disk import disk_errors, locked, to_json
from clawjax.weights.manifest import (
    MANIFEST,
    REMEDY,
    check_sizes,
    describe,
    files_of,
    read_manifest,
    to_version,
    verify,
)
from clawjax.weights.pointer import Pointer, Rollback, is_left_behind
from clawjax.weights.removed import keep_removed, kept_removed

__all__ = ["DirectoryWeightStore"]

logger = logging.getLogger(__name__)

_ASIDE = ".aside-"
_WRITER = ".writer"
"""Locked by who makes a version: directories aside are theirs, or of a writer that died."""
_WRITER_TIMEOUT_S = 60.0


class DirectoryWeightStore:
    """`protocols.WeightStore` in a directory.

    One process makes versions, any may point to another one, any number read.
    """

    def __init__(
        self, root: Path, *, keep: int | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Name the directory; nothing is created before the first `publish`.

        Args:
            root: the directory.
            keep: how many versions `publish` leaves beside the one served; None leaves all.
            clock: Unix seconds.
        """
        self.root = Path(root)
        self._keep = keep
        self._clock = clock
        self._pointer = Pointer(self.root)
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
        refused: str | None = None,
    ) -> WeightVersion:
        """Write aside, checksum, rename, then point to it; a second time is a no-op.

        What tells a version from another are its weights: the configuration beside them stays as
        it was first written, also where it would be written differently now.

        It is kept, but not pointed to, where it is refused, by the caller or because `parent` is
        no longer the version served. What is returned tells.

        Raises:
            StoreError: the disk refuses, or the version exists with other weights.
        """
        if version < 1:
            msg = f"version {version} cannot be published: 0 is the base model, start at 1"
            raise StoreError(msg)
        weights_name, config_name = files_of(kind)
        contents = {
            weights_name: save(_contiguous(tensors), metadata={"format": "pt"}),
            config_name: to_json(config),
        }
        about = {
            "version": version,
            "parent": parent,
            "step": step,
            "kind": kind,
            "base_model": base_model,
            "config": dict(config),
            "created_at": self._clock(),
        }
        with disk_errors(self.root), ThreadPoolExecutor(1, "checksum") as beside:
            files = beside.submit(_described, contents)
            self.root.mkdir(parents=True, exist_ok=True)
            with locked(self.root / _WRITER, wait_s=_WRITER_TIMEOUT_S):
                self._clean()
                found = self._published(version, weights_name, files)
                if found is None:
                    self._write_aside(version, contents)
                about["files"] = files.result()
                with self._pointer.locked():
                    served = self._served()
                    if found is None:
                        about["refused"] = refused or _objection(version, parent, served)
                        found = self._put_in_place(version, about)
                    made = to_version(self._path(version), found)
                    self._advance(made, served)
                    self._make_room()
        return made

    def latest(self) -> WeightVersion | None:
        """The version that is served; None means that nothing was ever published.

        Reads `LATEST`, a file of a few bytes, and the manifest it names. Only where one of them
        is damaged, all directories: then it is the newest that was neither refused nor left
        behind by a rollback.

        Raises:
            StoreError: the directory cannot be read.
        """
        with disk_errors(self.root):
            named = self._pointer.read()
            if named == 0:
                return self._base()
            found = None if named is None else self._complete(named)
            return self._newest_served() if found is None else found

    def versions(self, *, after: int = 0) -> list[WeightVersion]:
        """Every complete version above `after`, oldest first, refused ones included.

        Raises:
            StoreError: the directory cannot be read.
        """
        with disk_errors(self.root):
            numbers = sorted(number for number in self._numbers() if number > after)
            return [found for found in map(self._complete, numbers) if found is not None]

    def removed(self) -> dict[int, Removed]:
        """What is no longer here and was refused, or had not the number before as parent.

        Raises:
            StoreError: the record is damaged.
        """
        with disk_errors(self.root):
            return kept_removed(self.root)

    def rollbacks(self) -> tuple[Rollback, ...]:
        """Every time somebody pointed to another version, in order.

        Raises:
            StoreError: the record is damaged.
        """
        with disk_errors(self.root):
            return self._pointer.rollbacks()

    def point_to(self, version: int, *, is_forced: bool = False) -> WeightVersion:
        """Serve a version from now on, earlier or later than the one served; 0 is the base model.

        A step that is under way meanwhile does not undo it: what it makes is kept, and refused.
        Nobody waits while the version is read and verified, which may take minutes.

        Args:
            version: one that the store holds.
            is_forced: serve it although it was refused.

        Raises:
            StoreError: unknown, damaged, or refused and not forced.
        """
        with disk_errors(self.root):
            if not self.root.is_dir():
                msg = f"{self.root} does not exist: nothing was ever published there"
                raise StoreError(msg)
            target = self._servable(version, is_forced=is_forced)
            with self._pointer.locked():
                if version != 0 and self._complete(version) != target:
                    msg = f"{target.path} was removed or replaced meanwhile: choose again"
                    raise StoreError(msg)
                served = self.latest()
                was = 0 if served is None else served.version
                newest = max(self._numbers(), default=0)
                self._pointer.record(Rollback(self._clock(), was, version, newest))
                self._pointer.move(version)
            return target

    def load(self, version: int) -> tuple[WeightVersion, dict[str, np.ndarray]]:
        """Read and verify a version; 0 has no tensors.

        Raises:
            StoreError: missing, incomplete or damaged; names the file and what to do.
        """
        with disk_errors(self._path(version)):
            found = self._verified(version)
            if found.kind == BASE_KIND:
                return found, {}
            weights = found.path / files_of(found.kind)[0]
            try:
                return found, load_file(weights)
            except SafetensorError as error:
                msg = f"{weights} is not a safetensors file ({error}): {REMEDY}"
                raise StoreError(msg) from error

    def _path(self, version: int) -> Path:
        return self.root / f"{version:06d}"

    def _base(self) -> WeightVersion:
        return WeightVersion(0, self._path(0), None, 0, "", BASE_KIND)

    def _verified(self, version: int) -> WeightVersion:
        """Raises `StoreError` where the version is missing, incomplete or damaged."""
        if version == 0:
            return self._base()
        path = self._path(version)
        manifest = read_manifest(path)
        verify(path, manifest)
        return to_version(path, manifest)

    def _servable(self, version: int, *, is_forced: bool) -> WeightVersion:
        """Raises `StoreError` where somebody who points to it is to be told no."""
        numbers = [*self._numbers(), 0]
        if version not in numbers:
            known = ", ".join(map(str, sorted(numbers)))
            msg = f"{self.root} holds no version {version}: choose one of {known}"
            raise StoreError(msg)
        target = self._verified(version)
        if target.refused is not None and not is_forced:
            msg = (
                f"version {version} was refused ({target.refused}): "
                "choose another, or insist with --force"
            )
            raise StoreError(msg)
        return target

    def _numbers(self) -> list[int]:
        """Version numbers found, newest first, complete or not."""
        if not self.root.is_dir():
            return []
        names = (entry.name for entry in self.root.iterdir() if entry.is_dir())
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def _complete(self, version: int) -> WeightVersion | None:
        """The version if its manifest is readable and its files have the right sizes."""
        path = self._path(version)
        try:
            manifest = read_manifest(path)
            check_sizes(path, manifest)
            return to_version(path, manifest)
        except (StoreError, FileNotFoundError) as error:
            self._complain(str(error))
            return None

    def _complain(self, problem: str) -> None:
        """Once, as the same version is looked at again and again."""
        if problem not in self._complaints:
            self._complaints.add(problem)
            logger.warning("a version is passed over: %s", problem)

    def _newest_served(self) -> WeightVersion | None:
        """What was most likely served, where the pointer does not say."""
        rollbacks = self._pointer.rollbacks()
        for found in filter(None, map(self._complete, self._numbers())):
            if found.refused is None and not is_left_behind(found.version, rollbacks):
                return found
        return self._base() if rollbacks else None

    def _served(self) -> set[int]:
        """The numbers that go for the version served: one is named, perhaps another stands in."""
        latest = self.latest()
        numbers = (self._pointer.read(), None if latest is None else latest.version)
        return {number for number in numbers if number is not None}

    def _advance(self, made: WeightVersion, served: set[int]) -> None:
        """Point to what was published, unless it is refused or somebody has moved on."""
        named = self._pointer.read()
        if made.refused is not None:
            if named is None:  # what is served instead is to be certain
                self._pointer.move(max(served, default=0))
        elif (
            named != made.version
            and _is_next(made.version, made.parent, served)
            and not is_left_behind(made.version, self._pointer.rollbacks())
        ):
            self._pointer.move(made.version)

    def _make_room(self) -> None:
        """Remove all but the newest, and whatever is served.

        A reader is never in need of others: it begins with what is served, and looks again where
        that is gone before it was read.
        """
        if self._keep is None:
            return
        served = self._served()
        for number in self._numbers()[self._keep :]:
            if number not in served:
                if (removed := self._complete(number)) is not None:
                    keep_removed(self.root, removed)
                self._discard(self._path(number))

    def _published(
        self, version: int, weights_name: str, files: Future[dict[str, Any]]
    ) -> dict[str, Any] | None:
        """The manifest if these weights are there already; None: they are not, or damaged."""
        path = self._path(version)
        if not path.exists():
            return None
        try:
            found = read_manifest(path)
            verify(path, found)
        except (StoreError, FileNotFoundError):
            return None
        if found["files"].get(weights_name) != files.result()[weights_name]:
            msg = (
                f"{path} already holds other weights: a version never changes; "
                "move the directory away or use a new run.dir"
            )
            raise StoreError(msg)
        return found

    def _clean(self) -> None:
        """Remove what a writer that died left behind. The caller is the writer."""
        for leftover in self.root.glob(f"{_ASIDE}*"):
            shutil.rmtree(leftover)

    def _aside(self, version: int) -> Path:
        return self.root / f"{_ASIDE}{version:06d}-{os.getpid()}"

    def _write_aside(self, version: int, contents: Mapping[str, bytes]) -> None:
        """Write all but the manifest: checksums are found while the disk is at work."""
        aside = self._aside(version)
        aside.mkdir()
        for name, content in contents.items():
            write_synced(aside / name, content)

    def _put_in_place(self, version: int, manifest: dict[str, Any]) -> dict[str, Any]:
        """Complete what was written aside, and rename it; what is there already is damaged."""
        aside, path = self._aside(version), self._path(version)
        write_synced(aside / MANIFEST, to_json(manifest))
        sync(aside)
        if path.exists():
            self._discard(path)
        os.replace(aside, path)
        sync(self.root)
        return manifest

    def _discard(self, path: Path) -> None:
        """Rename first, so that no reader meets half a directory."""
        aside = self.root / f"{_ASIDE}discarded-{path.name}-{os.getpid()}"
        os.replace(path, aside)
        shutil.rmtree(aside)


def _described(contents: Mapping[str, bytes]) -> dict[str, Any]:
    return {name: describe(content) for name, content in contents.items()}


def _is_next(version: int, parent: int | None, served: set[int]) -> bool:
    """Whether a version follows on what is served, or is that."""
    if parent is None:
        return version > max(served, default=0)
    return not served or not served.isdisjoint({parent, version})


def _objection(version: int, parent: int | None, served: set[int]) -> str | None:
    """Why a new version must not be served: somebody has moved on from its parent."""
    if parent is None or _is_next(version, parent, served):
        return None
    return f"version {max(served)} was put in place of {parent} while this one was made"


def _contiguous(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Safetensors writes memory as it lies: transposed views have to be laid out first."""
    return {name: np.ascontiguousarray(tensor) for name, tensor in sorted(tensors.items())}
