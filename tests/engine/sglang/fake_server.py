"""A server that answers as SGLang does, refuses what it refuses, and samples all the while.

It knows what it really holds from the files it was told to load, and keeps every token beside what
the client took its version for at that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from safetensors.numpy import load_file

from clawjax.errors import EngineError


class Fault(StrEnum):
    """What may happen to a call."""

    REFUSED = "refused"
    """An error, and nothing done."""
    LOST = "lost"
    """Done, but the answer does not arrive."""
    HANGS = "hangs"
    """No answer before the time-out, and nothing done."""
    CANCELLED = "cancelled"
    """The client's task is cancelled before anything was done."""
    CANCELLED_LATE = "cancelled_late"
    """It is cancelled while the server goes on with what it was asked."""


class Token(NamedTuple):
    """A sampled token."""

    drawn_from: int
    stamped: int | None


@dataclass
class FakeServer:
    """One server with requests under way."""

    requests: int = 2
    label: str | None = "default"
    """`weight_version`; None for a server that has none."""
    enable_lora: bool = False
    max_pause_s: float | None = None
    """Known to servers whose pauses end by themselves."""
    lease_s: float | None = None
    version_of: Callable[[Path], int] | None = None
    """What a directory holds."""
    faults: Mapping[int, Fault] = field(default_factory=dict)
    """By the number of the call."""
    befallen: list[Fault] = field(default_factory=list)
    """Those that have happened: a call may end before its fault comes."""
    holds: int = 0
    running: int = 0
    waiting: int = 0
    aborted: int = 0
    paused: str | None = None
    is_alive: bool = True
    stamp: int | None = 0
    adapters: dict[str, int] = field(default_factory=dict)
    tokens: list[Token] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    task: asyncio.Task[object] | None = None
    load_s: float = 0.0

    def __post_init__(self) -> None:
        self.running = self.requests

    def on_version(self, version: int | None) -> None:
        self.stamp = version

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout_s: float,
    ) -> dict[str, object]:
        number = len(self.calls)
        self.calls.append(path)
        self._sample()
        await asyncio.sleep(0)
        fault = self.faults.get(number)
        self.befallen += [] if fault is None else [fault]
        if not self.is_alive or fault is Fault.REFUSED:
            msg = f"{path}: Internal Server Error"
            raise EngineError(msg)
        if fault is Fault.HANGS:
            await asyncio.sleep(timeout_s)
            msg = f"{path}: no answer within {timeout_s} s"
            raise EngineError(msg)
        if fault in (Fault.CANCELLED, Fault.CANCELLED_LATE):
            assert self.task is not None
            self.task.cancel()
            try:
                for _ in range(5):
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                if fault is Fault.CANCELLED_LATE:
                    with suppress(EngineError):  # nobody is there to hear of it
                        self._answer(method, path, body or {})
                raise
        if path == "/update_weights_from_disk" and self.load_s:
            await asyncio.sleep(self.load_s)
        answer = self._answer(method, path, body or {})
        self._sample()
        if fault is Fault.LOST:
            msg = f"{path}: the connection broke"
            raise EngineError(msg)
        return answer

    def _sample(self) -> None:
        if self.is_alive and self.paused is None:
            self.running, self.waiting = self.running + self.waiting, 0
            self.tokens += [Token(self.holds, self.stamp)] * self.running

    def _answer(self, method: str, path: str, body: Mapping[str, object]) -> dict[str, object]:
        if path in ("/get_model_info", "/get_server_info"):
            assert method == "GET", path
        else:
            assert method == "POST", path
        return getattr(self, f"_{path.removeprefix('/')}")(**body)

    def _get_model_info(self) -> dict[str, object]:
        info: dict[str, object] = {"model_path": "tiny", "is_generation": True}
        return info if self.label is None else info | {"weight_version": self.label}

    def _get_server_info(self) -> dict[str, object]:
        info: dict[str, object] = {"enable_lora": self.enable_lora}
        return info if self.max_pause_s is None else info | {"max_pause_s": self.max_pause_s}

    def _pause_generation(self, mode: str, lease_s: float | None = None) -> dict[str, object]:
        assert lease_s is None or self.max_pause_s is not None, "SGLang has no such field"
        self.paused, self.lease_s = mode, lease_s
        if mode == "retract":
            self.waiting, self.running = self.waiting + self.running, 0
        elif mode == "abort":
            self.aborted += self.running + self.waiting
            self.running = self.waiting = 0
        else:
            assert mode == "in_place", mode
        return {"message": "Generation paused successfully.", "status": "ok"}

    def _continue_generation(self) -> dict[str, object]:
        self.paused = None
        return {"message": "Generation continued successfully.", "status": "ok"}

    def _flush_cache(self) -> dict[str, object]:
        if self.running or self.waiting:
            msg = "/flush_cache answered 400: there are running or waiting requests"
            raise EngineError(msg)
        return {"text": "Cache flushed."}

    def _update_weights_from_disk(
        self,
        model_path: str,
        weight_version: str | None = None,
        abort_all_requests: bool = False,
        flush_cache: bool = True,
    ) -> dict[str, object]:
        assert not abort_all_requests
        assert self.paused or not self.running, "this would wait for every request to end"
        assert isinstance(weight_version, str), "the schema wants a string"
        path = Path(model_path)
        assert path.is_absolute()
        names = {file.name for file in path.iterdir()}
        assert {"config.json", "tokenizer.json", "model.safetensors"} <= names
        assert self.version_of is not None
        self.holds = self.version_of(path)
        if self.label is not None:
            self.label = weight_version
        if flush_cache and (self.running or self.waiting):
            self.is_alive = False  # "Cache flush failed after updating weights"
        return {"success": True, "message": "Succeeded to update model weights."}

    def _load_lora_adapter(self, lora_name: str, lora_path: str) -> dict[str, object]:
        if not self.enable_lora:
            msg = "/load_lora_adapter answered 400: LoRA is not enabled."
            raise EngineError(msg)
        if lora_name in self.adapters:
            msg = f"/load_lora_adapter answered 400: {lora_name} is already loaded"
            raise EngineError(msg)
        load_file(Path(lora_path) / "adapter_model.safetensors")
        self.adapters[lora_name] = 0
        return {"success": True, "error_message": "", "loaded_adapters": dict(self.adapters)}

    def _unload_lora_adapter(self, lora_name: str) -> dict[str, object]:
        assert self.adapters[lora_name] == 0, "this would hold up every load until they end"
        del self.adapters[lora_name]
        return {"success": True, "error_message": "", "loaded_adapters": dict(self.adapters)}
