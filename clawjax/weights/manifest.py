"""`manifest.json`: what a version says of itself, and whether its files bear it out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from clawjax.errors import StoreError
from clawjax.protocols import WeightVersion

__all__ = [
    "MANIFEST",
    "REMEDY",
    "check_sizes",
    "describe",
    "files_of",
    "read_manifest",
    "to_version",
    "verify",
]

MANIFEST = "manifest.json"
_FILES = {
    "adapter": ("adapter_model.safetensors", "adapter_config.json"),
    "full": ("model.safetensors", "config.json"),
}
_TYPES = {
    "version": int,
    "parent": (int, NoneType),
    "step": int,
    "base_model": str,
    "kind": str,
    "config": dict,
}
_LATER_TYPES = {"refused": (str, NoneType), "created_at": (int, float, NoneType)}
"""Of what a manifest may lack."""
_READ_BYTES = 1 << 20

REMEDY = "remove this version's directory; the newest complete one before it is used instead"
"""What to do about a damaged version."""


def files_of(kind: str) -> tuple[str, str]:
    """Names of the weights and of the configuration beside them.

    Raises:
        StoreError: unknown kind.
    """
    if kind not in _FILES:
        msg = f"weights of kind {kind!r} are unknown: use adapter or full"
        raise StoreError(msg)
    return _FILES[kind]


def describe(content: bytes) -> dict[str, object]:
    """Size and checksum of a file's content."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the version in directory `path`.

    Raises:
        StoreError: missing, or no manifest of this form.
    """
    file = path / MANIFEST
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
        kind = to_version(path, manifest).kind
        if sorted(files) != sorted(_FILES[kind]):
            msg = f"files are {sorted(files)}, not those of kind {kind}"
            raise ValueError(msg)
    except FileNotFoundError as error:
        msg = f"{file} is missing: {REMEDY}"
        raise StoreError(msg) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{file} is not a manifest ({type(error).__name__}: {error}): {REMEDY}"
        raise StoreError(msg) from error
    return manifest


def to_version(path: Path, manifest: Mapping[str, Any]) -> WeightVersion:
    """A manifest as a record.

    Raises:
        KeyError, TypeError: a field is missing or of another type.
    """
    for name, kinds in _TYPES.items():
        _check_type(name, manifest[name], kinds)
    for name, kinds in _LATER_TYPES.items():
        _check_type(name, manifest.get(name), kinds)
    return WeightVersion(
        version=manifest["version"],
        path=path,
        parent=manifest["parent"],
        step=manifest["step"],
        base_model=manifest["base_model"],
        kind=manifest["kind"],
        refused=manifest.get("refused"),
        created_at=manifest.get("created_at"),
    )


def verify(path: Path, manifest: Mapping[str, Any]) -> None:
    """Check the size and checksum of every file.

    Raises:
        StoreError: a file is missing, cut or altered, or the directory bears another number.
    """
    if path.name != f"{manifest['version']:06d}":
        msg = f"{path} says it is version {manifest['version']}: {REMEDY}"
        raise StoreError(msg)
    check_sizes(path, manifest)
    for name, described in manifest["files"].items():
        if _digest(path / name) != described["sha256"]:
            msg = f"{path / name} does not match its checksum: {REMEDY}"
            raise StoreError(msg)


def check_sizes(path: Path, manifest: Mapping[str, Any]) -> None:
    """Check that every file is there and as long as it should be.

    Raises:
        StoreError: a file is missing or cut.
    """
    for name, described in manifest["files"].items():
        file = path / name
        if not file.is_file():
            msg = f"{file} is missing: {REMEDY}"
            raise StoreError(msg)
        size = file.stat().st_size
        if size != described["bytes"]:
            msg = f"{file} has {size} bytes, expected {described['bytes']}: {REMEDY}"
            raise StoreError(msg)


def _check_type(name: str, value: object, kinds: type | tuple[type, ...]) -> None:
    if not isinstance(value, kinds) or isinstance(value, bool):
        msg = f"{name} is {value!r}"
        raise TypeError(msg)


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
