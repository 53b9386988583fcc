"""A version as its difference from another: fewer bytes where the way is narrow.

For servers that do not share a fast disk with the learner: the delta crosses the network, and the
whole file is made from it beside the server, from the version that is there already.

Format: a line of JSON (`Header`), then, chunk by chunk, a length and a zstd frame. A chunk is the
XOR of the same bytes of both files, with the bytes of each number put apart (all first bytes, then
all second bytes, and so on): signs and exponents hardly ever change and shrink to nothing.
Invariants: what is applied is applied to the file it was made from, and gives the file it was made
for, by sha256, or nothing appears.

    python -m clawjax.weights.delta make BASE TARGET DELTA
    python -m clawjax.weights.delta apply BASE DELTA TARGET
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from clawjax.errors import StoreError
from clawjax.files import sync
from clawjax.weights.disk import disk_errors

__all__ = ["Speeds", "apply_delta", "has_zstd", "make_delta", "pays"]

_FORMAT = "clawjax-delta-1"
_CHUNK_BYTES = 1 << 22
_LEVEL = 1
"""Of zstd: higher ones take several times as long for a few percent."""
_LENGTH_BYTES = 4
_PLANES = (1, 2, 4)


class Speeds(NamedTuple):
    """Bytes of the whole file per second."""

    network: float
    """From where the store is to where the server is."""
    make: float
    """Of making a delta; it is made once for all servers."""
    apply: float


class _Header(NamedTuple):
    format: str
    planes: int
    """Bytes per number."""
    base_sha256: str
    target_sha256: str


def pays(ratio: float, speeds: Speeds) -> bool:
    """Whether a delta arrives sooner than the file.

    That is where `1/network > 1/make + ratio/network + 1/apply` per byte.

    Args:
        ratio: bytes of the delta over those of the file, as measured on the version before.
        speeds: as measured.
    """
    whole = 1 / speeds.network
    return 1 / speeds.make + ratio / speeds.network + 1 / speeds.apply < whole


def has_zstd() -> bool:
    """Whether deltas can be made and applied here: `pip install -e '.[delta]'`."""
    try:
        _zstd()
    except StoreError:
        return False
    return True


def make_delta(base: Path, target: Path, delta: Path, *, planes: int = 4) -> int:
    """Write what makes `target` of `base`; the bytes that it takes.

    Args:
        base: a file that the receiver has.
        target: one of the same size, as the weights of two versions of a model are.
        delta: appears whole, or not at all; one that is there stays until then.
        planes: bytes per number: 4 for fp32, 2 for bf16 and fp16.

    Raises:
        StoreError: sizes differ, zstd is not installed, or the disk refuses.
    """
    if planes not in _PLANES:
        msg = f"planes={planes} is no size of a number: use one of {_PLANES}"
        raise StoreError(msg)
    zstd = _zstd()
    with disk_errors(delta):
        size = target.stat().st_size
        if base.stat().st_size != size:
            msg = f"{base} has {base.stat().st_size} bytes and {target} {size}: send the whole file"
            raise StoreError(msg)
        header = _Header(_FORMAT, planes, _digest(base), _digest(target))
        aside = delta.with_name(f"{delta.name}.aside")
        try:
            with aside.open("wb") as stream, base.open("rb") as old, target.open("rb") as new:
                stream.write(json.dumps(header._asdict()).encode() + b"\n")
                for before, after in zip(_chunks(old), _chunks(new), strict=True):
                    frame = zstd.compress(_apart(before ^ after, planes), _LEVEL)
                    stream.write(len(frame).to_bytes(_LENGTH_BYTES, "little"))
                    stream.write(frame)
                _finish(stream, aside, delta)
        finally:
            aside.unlink(missing_ok=True)  # there only where that failed
        return delta.stat().st_size


def apply_delta(base: Path, delta: Path, target: Path) -> None:
    """Make the file that a delta was made for, verified.

    Args:
        base: the file that it was made from.
        delta: from `make_delta`.
        target: appears whole, or not at all.

    Raises:
        StoreError: another base, a damaged delta, zstd is not installed, or the disk refuses.
    """
    zstd = _zstd()
    aside = target.with_name(f"{target.name}.aside")
    with disk_errors(target), delta.open("rb") as stream:
        header = _read_header(stream, delta)
        if _digest(base) != header.base_sha256:
            msg = f"{delta} was not made from {base}: fetch the whole file"
            raise StoreError(msg)
        digest = hashlib.sha256()
        try:
            with base.open("rb") as old, aside.open("wb") as out:
                for before in _chunks(old):
                    change = _together(zstd.decompress(_frame(stream)), header.planes)
                    after = (before ^ change).tobytes()
                    digest.update(after)
                    out.write(after)
                if digest.hexdigest() != header.target_sha256 or stream.read(1):
                    msg = f"{delta} does not give what it was made for"
                    raise ValueError(msg)
                _finish(out, aside, target)
        except (ValueError, zstd.ZstdError) as error:
            msg = f"{delta} is damaged ({error}): fetch it again, or the whole file"
            raise StoreError(msg) from error
        finally:
            aside.unlink(missing_ok=True)


def _zstd() -> Any:
    for module in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError:
            continue
    msg = "deltas need zstd: pip install -e '.[delta]'"
    raise StoreError(msg)


def _chunks(file: IO[bytes]) -> Iterator[np.ndarray]:
    while block := file.read(_CHUNK_BYTES):
        yield np.frombuffer(block, np.uint8)


def _apart(chunk: np.ndarray, planes: int) -> bytes:
    """All first bytes, all second bytes, ...; what is left of a last number comes after them."""
    whole = len(chunk) // planes * planes
    return chunk[:whole].reshape(-1, planes).T.tobytes() + chunk[whole:].tobytes()


def _together(content: bytes, planes: int) -> np.ndarray:
    """Undo `_apart`."""
    found = np.frombuffer(content, np.uint8)
    whole = len(found) // planes * planes
    numbers = found[:whole].reshape(planes, -1).T.reshape(-1)
    return np.concatenate([numbers, found[whole:]])


def _frame(stream: IO[bytes]) -> bytes:
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    frame = stream.read(length)
    if not length or len(frame) != length:
        msg = "it ends too early"
        raise ValueError(msg)
    return frame


def _read_header(stream: IO[bytes], delta: Path) -> _Header:
    try:
        header = _Header(**json.loads(stream.readline(1024)))
        is_known = header.format == _FORMAT and header.planes in _PLANES
    except (ValueError, TypeError) as error:
        msg = f"{delta} is no delta ({error}): fetch it again, or the whole file"
        raise StoreError(msg) from error
    if not is_known:
        msg = f"{delta} is of format {header.format!r}, which this version does not know"
        raise StoreError(msg)
    return header


def _finish(stream: IO[bytes], aside: Path, path: Path) -> None:
    stream.flush()
    os.fsync(stream.fileno())
    os.replace(aside, path)
    sync(path.parent)


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code, 2 where it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m clawjax.weights.delta", description="The difference of two files."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command, files in (("make", "base target delta"), ("apply", "base delta target")):
        chosen = commands.add_parser(command)
        for file in files.split():
            chosen.add_argument(file, type=Path)
        if command == "make":
            chosen.add_argument("--planes", type=int, default=4, help="bytes per number")
    options = parser.parse_args(arguments)
    try:
        if options.command == "make":
            size = make_delta(options.base, options.target, options.delta, planes=options.planes)
            share = size / options.target.stat().st_size
            sys.stdout.write(f"{options.delta}: {size} bytes, {share:.1%} of the file\n")
        else:
            apply_delta(options.base, options.delta, options.target)
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
