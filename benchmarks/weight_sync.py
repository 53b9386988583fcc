"""What does it cost to bring new weights to a server, by transport and model size?

    python benchmarks/weight_sync.py [--quick]

From the learner's arrays to a server in another process that has shown that it has them: all
weights through the disk, an adapter merged into the base's files, an adapter beside the base. Plain
safetensors, saved and loaded in this process, stand beside them; what a delta would take, too,
where `clawjax[delta]` is installed. Models of 1M to 135M random fp32 parameters; about eight
minutes on two quiet cores, and 10 GB of disk meanwhile. `--quick` takes the two smallest.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import ml_dtypes
import numpy as np
from _compare import in_turn, load, one_line, ratios, spread
from _result import Goal, write_result
from _weight_server import running_server
from safetensors.numpy import load_file, save

from clawjax.config import DeliveryConfig, LoraConfig
from clawjax.engine.sglang.adapters import AdapterShelf
from clawjax.engine.sglang.delivery import Delivered, deliver
from clawjax.engine.sglang.directories import ModelDirectories
from clawjax.engine.sglang.http import Connections, ServerClient
from clawjax.models.architecture import Architecture
from clawjax.models.layout import leaves
from clawjax.models.lora import peft_config
from clawjax.models.registry import config_from_architecture
from clawjax.models.tiny import tiny_tokenizer
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.testing import free_port
from clawjax.weights import DirectoryWeightStore
from clawjax.weights.delta import apply_delta, has_zstd, make_delta

Row = dict[str, Any]
Tensors = Mapping[str, np.ndarray]

LORA = LoraConfig(rank=16, alpha=32.0)
STEP = 1e-5
"""A step of Adam moves each weight by about the learning rate."""
PLAIN = "plain safetensors"
DISK, MERGED, ADAPTER = "disk", "disk, adapter merged", "adapter"

NOTES = {
    "seconds": "from arrays in the learner's process to weights that the server has shown to have: "
    "publishing (checksums, fsync) and delivery (checksums again, pause, load, confirm, continue)",
    "plain safetensors": "the same arrays serialised, written with fsync, and read by load_file in "
    "the same process; nothing is checked and nobody is told",
    "bytes": "that the server reads",
    "downtime": "from asking for the pause to the answer that generation continues",
    "server": "a process that loads tensors into memory and does nothing else: an engine's own "
    "work (conversion, transfer to a device) comes on top and is the same however weights arrive",
    "times_plain": "seconds over those of plain safetensors, in the same round",
    "delta": f"between two versions a step of {STEP:g} per weight apart; pays_below is the rate of "
    "the network in MB/s under which a delta made, sent and applied is sooner than the file sent",
}


class Size(NamedTuple):
    """A Llama-shaped model."""

    hidden: int
    wide: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int

    def architecture(self) -> Architecture:
        """Its shape."""
        return Architecture(
            family="llama",
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.wide,
            num_layers=self.layers,
            num_heads=self.heads,
            num_kv_heads=self.kv_heads,
            head_dim=self.hidden // self.heads,
            max_positions=2048,
            is_tied=True,
            has_qkv_bias=False,
            has_qk_norm=False,
        )


SIZES = (
    Size(128, 384, 4, 4, 2, 2048),
    Size(320, 960, 8, 5, 5, 4096),
    Size(512, 1536, 10, 8, 4, 16384),
    Size(576, 1536, 30, 9, 3, 49152),  # SmolLM2-135M
)


class RandomModel:
    """`clawjax.models.load.Source` of any size."""

    def __init__(self, size: Size) -> None:
        """Draw the weights."""
        rng = np.random.default_rng(0)
        self._architecture = size.architecture()
        self._tensors = {
            leaf.tensor: rng.normal(0.0, 0.02, leaf.shape).astype(np.float32)
            for leaf in leaves(self._architecture)
        }

    @property
    def parameters(self) -> int:
        """How many."""
        return sum(tensor.size for tensor in self._tensors.values())

    def base_id(self) -> str:
        """Of one benchmark."""
        return f"random@{self.parameters}"

    def architecture(self) -> Architecture:
        """The shape."""
        return self._architecture

    def tokenizer(self) -> ChatTokenizer:
        """A small one, so that directories are complete."""
        return tiny_tokenizer()

    def tensors(self) -> dict[str, np.ndarray]:
        """The weights, not copied."""
        return self._tensors

    def after(self, version: int) -> dict[str, np.ndarray]:
        """The weights some steps later."""
        rng = np.random.default_rng(version)
        return {
            name: tensor + STEP * rng.standard_normal(tensor.shape, np.float32)
            for name, tensor in self._tensors.items()
        }

    def adapter(self, version: int) -> dict[str, np.ndarray]:
        """A LoRA adapter of the default targets."""
        rng = np.random.default_rng(version)
        found = {}
        for leaf in leaves(self._architecture):
            if leaf.is_kernel and leaf.path[-2] in LORA.targets:
                rows, columns = leaf.shape
                name = f"base_model.model.{leaf.tensor.removesuffix('.weight')}"
                a, b = (
                    rng.standard_normal(s, np.float32)
                    for s in ((LORA.rank, columns), (rows, LORA.rank))
                )
                found |= {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": STEP * b}
        return found


class Way:
    """One transport: publishes and delivers a new version each time it is called."""

    def __init__(self, model: RandomModel, root: Path, url: str, kind: str, transport: str) -> None:
        """Each way has a store and directories of its own."""
        self._model = model
        self._kind = kind
        self._config = DeliveryConfig(transport=transport)
        self._store = DirectoryWeightStore(root / "weights")
        self._directories = ModelDirectories(root / "delivered", model)
        self._url = url
        self._shelf = AdapterShelf()
        self._versions = count(1)
        self.delivered: list[Delivered] = []

    def __call__(self) -> float:
        """Seconds."""
        version = next(self._versions)
        model, is_full = self._model, self._kind == "full"
        tensors = model.after(version) if is_full else model.adapter(version)
        began = time.perf_counter()
        published = self._store.publish(
            tensors,
            version=version,
            parent=version - 1,
            step=version,
            base_model=model.base_id(),
            kind=self._kind,
            config=config_from_architecture(model.architecture())
            if is_full
            else peft_config(LORA, model.base_id()),
        )
        self.delivered.append(asyncio.run(self._deliver(published)))
        return time.perf_counter() - began

    async def _deliver(self, weights: Any) -> Delivered:
        async with httpx.AsyncClient(
            trust_env=False,
            verify=False,  # noqa: S501 - loopback
        ) as client:  # no TLS: reading certificates would take longer than a small model
            return await deliver(
                ServerClient(Connections(client, client), self._url),
                weights,
                directories=self._directories,
                config=self._config,
                shelf=self._shelf,
            )


class Plain:
    """Arrays to a file and back, with nothing around it."""

    def __init__(self, model: RandomModel, file: Path) -> None:
        """The file is replaced each time."""
        self._tensors = model.after(1)
        self._file = file
        self.load_s: list[float] = []

    def __call__(self) -> float:
        """Seconds."""
        began = time.perf_counter()
        with self._file.open("wb") as stream:
            stream.write(save(self._tensors))
            stream.flush()
            os.fsync(stream.fileno())
        saved = time.perf_counter()
        load_file(self._file)
        done = time.perf_counter()
        self.load_s.append(done - saved)
        return done - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rows = []
    for size in SIZES[:2] if options.quick else SIZES:
        rows += size_rows(size, rounds=2 if options.quick else 5)
    for row in rows:
        print(one_line(row))
    write_result(
        "weight_sync_quick" if options.quick else "weight_sync",
        rows,
        goals(rows),
        command="python benchmarks/weight_sync.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def size_rows(size: Size, *, rounds: int) -> list[Row]:
    """All ways of one model size."""
    model = RandomModel(size)
    with (
        tempfile.TemporaryDirectory(prefix="weights-") as folder,
        running_server(free_port()) as url,
        running_server(free_port()) as with_adapters,  # whose own weights stay the base model's
    ):
        root = Path(folder)
        plain = Plain(model, root / "plain.safetensors")
        ways = {
            DISK: Way(model, root / "full", url, "full", "disk"),
            MERGED: Way(model, root / "merged", url, "adapter", "disk"),
            ADAPTER: Way(model, root / "adapter", with_adapters, "adapter", "adapter"),
        }
        measured = in_turn({PLAIN: plain, **ways}, rounds=rounds)
    bytes_of = {PLAIN: 4 * model.parameters}
    bytes_of |= {name: found.delivered[-1].bytes for name, found in ways.items()}
    rows: list[Row] = []
    for name, seconds in measured.items():
        row: Row = {"case": name, "parameters": model.parameters, "bytes": bytes_of[name]}
        row |= spread(seconds).as_row("seconds") | {"load": load()}
        row |= ratios(seconds, measured[PLAIN]).as_row("times_plain")
        if name == PLAIN:
            row |= spread(plain.load_s).as_row("load_seconds")
        else:
            stood = [one.downtime_s for one in ways[name].delivered[-rounds:]]
            row |= spread(stood).as_row("downtime")
            row |= ratios(stood, seconds).as_row("downtime_share")
            row |= ratios(stood, plain.load_s[-rounds:]).as_row("downtime_times_load")
        rows.append(row)
    return rows + delta_rows(model)


def delta_rows(model: RandomModel) -> list[Row]:
    """What a delta of one step takes, in fp32 and as bf16; none where zstd is not installed."""
    if not has_zstd():
        print("  no deltas: pip install -e '.[delta]'")
        return []
    rows = []
    for name, dtype, planes in (("fp32", np.float32, 4), ("bf16", ml_dtypes.bfloat16, 2)):
        with tempfile.TemporaryDirectory(prefix="weights-") as folder:
            base, target, delta, made = (
                Path(folder, n) for n in ("base", "target", "delta", "made")
            )
            for file, tensors in ((base, model.tensors()), (target, model.after(1))):
                file.write_bytes(save({n: t.astype(dtype) for n, t in tensors.items()}))
            began = time.perf_counter()
            make_delta(base, target, delta, planes=planes)
            between = time.perf_counter()
            apply_delta(base, delta, made)
            seconds = (between - began, time.perf_counter() - between)
            whole, small = target.stat().st_size, delta.stat().st_size
        ratio = small / whole
        rows.append(
            {
                "case": f"delta, {name}",
                "parameters": model.parameters,
                "bytes": small,
                "ratio": ratio,
                "make_seconds": seconds[0],
                "apply_seconds": seconds[1],
                "pays_below": (1 - ratio) * whole / sum(seconds) / 1e6,
                "load": load(),
            }
        )
    return rows


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Of the largest model, where bytes count.

    Two times plain: a version is hashed when it is published and again before it is handed out,
    each about as long as writing or reading it. Standing still is for loading: half as long again
    as the load itself leaves room for the calls around it, and none for checks or merging.
    """
    largest = max(row["parameters"] for row in rows)
    at = {row["case"]: row for row in rows if row["parameters"] == largest}
    return [
        Goal("disk, times plain save and load", "<=", 2.0, at[DISK]["times_plain"], "x"),
        Goal("merged, times plain save and load", "<=", 2.0, at[MERGED]["times_plain"], "x"),
        Goal("disk, downtime over a plain load", "<=", 1.5, at[DISK]["downtime_times_load"], "x"),
        Goal("merged, share of the time stood still", "<=", 0.5, at[MERGED]["downtime_share"], ""),
        Goal(
            "adapter, bytes over those of the model",
            "<=",
            0.2,
            at[ADAPTER]["bytes"] / at[PLAIN]["bytes"],
            "x",
        ),
    ]


if __name__ == "__main__":
    main()
