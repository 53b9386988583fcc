"""Weights on their way to a server: made ready, loaded while it stands still, confirmed.

Invariants: a server is still only while it loads, never while files are made or checked; it goes on
afterwards whatever happened (`lease`); a version counts as the server's once the server has shown
that it has it, and nothing counts while it is not known; no request is refused on the way.

What a delivery does not give back in order is for the caller to take out of rotation: an error
means that the server's weights are not known, unless it is a `DeclinedError`, by which they are
what they were. Another `deliver` puts it right again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawjax.config.delivery import DeliveryConfig
from clawjax.engine.sglang.adapters import AdapterShelf
from clawjax.engine.sglang.delivery_plan import (
    WITHOUT_PAUSE,
    Capability,
    Pause,
    Plan,
    Proof,
    Transport,
    adapter_name,
    capability,
    is_untouched,
    plan,
    read_version,
)
from clawjax.engine.sglang.directories import ModelDirectories
from clawjax.engine.sglang.failures import DeclinedError, RefusedError
from clawjax.engine.sglang.lease import Calls, paused
from clawjax.engine.sglang.weight_probe import WeightProbe, check_probe
from clawjax.errors import EngineError
from clawjax.protocols import WeightVersion
from clawjax.weights.manifest import read_manifest, verify

__all__ = ["Delivered", "ask_capability", "deliver"]

logger = logging.getLogger(__name__)

OnVersion = Callable[[int | None], None]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a delivery has come to."""

    version: int
    """What the server has shown to have."""
    transport: Transport
    seconds: float
    """From asking to confirmed, files included."""
    bytes: int
    """That the server had to read."""
    downtime_s: float
    """Of which it stood still."""
    lora_path: str | None = None
    """The adapter that requests have to name; None: none."""
    is_flushed: bool = False
    """Whether cached prefixes of the old weights are gone; if not, requests tell those of the new
    from others by `delivery_plan.cache_key`."""


async def ask_capability(server: Calls, *, timeout_s: float) -> Capability:
    """What a server can do, as it says.

    Raises:
        EngineError: it does not answer.
    """
    model_info = await server.call("GET", "/get_model_info", timeout_s=timeout_s)
    server_info = await server.call("GET", "/get_server_info", timeout_s=timeout_s)
    return capability(model_info, server_info)


async def deliver(
    server: Calls,
    weights: WeightVersion,
    *,
    directories: ModelDirectories,
    config: DeliveryConfig,
    shelf: AdapterShelf,
    probe: WeightProbe | None = None,
    on_version: OnVersion = lambda _: None,
    is_doubtful: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Delivered:
    """Bring a server to a version, and return when it has shown that it is there.

    Args:
        server: to be brought.
        weights: of the store; version 0 is the base model.
        directories: where versions become directories that servers can load.
        config: what is wanted.
        shelf: the server's adapters.
        probe: log-probs that a fixed reply has with these weights, for servers that do not say
            their version.
        on_version: told whose tokens the server samples, before it goes on: the version where it
            has been shown, None where it is not known. Not told where nothing was loaded, nor of
            adapters: there a reply is its adapter's.
        is_doubtful: see `delivery_plan.plan`.
        clock: of seconds.

    Raises:
        StoreError: the version is damaged, of another base model, or not finite; the server has
            not been touched.
        DeclinedError: the server does not take them and has not begun to; what it has is as before.
        EngineError: the server fails, is too slow, or does not show the version.
    """
    began = clock()
    can = await ask_capability(server, timeout_s=config.control_timeout_s)
    chosen = plan(weights.kind, can, config, has_probe=probe is not None, is_doubtful=is_doubtful)
    if chosen.transport is Transport.ADAPTER:
        read = await _load_adapter(server, weights, config, shelf)
        downtime_s, is_flushed = 0.0, False
    else:
        async with _held(directories, weights) as path:
            read = _weight_bytes(path.glob("*.safetensors"))
            downtime_s, is_flushed = await _load_from_disk(
                server, weights.version, path, can, chosen, config, on_version, clock
            )
        if chosen.proof is Proof.PROBE:
            assert probe is not None  # `plan` has seen to it
            await check_probe(
                server,
                probe,
                tolerance=config.probe_tolerance,
                timeout_s=config.control_timeout_s,
            )
            on_version(weights.version)
    is_adapter = chosen.transport is Transport.ADAPTER
    return Delivered(
        version=weights.version,
        transport=chosen.transport,
        seconds=clock() - began,
        bytes=read,
        downtime_s=downtime_s,
        lora_path=adapter_name(weights.version) if is_adapter else None,
        is_flushed=is_flushed,
    )


async def _load_from_disk(
    server: Calls,
    version: int,
    path: Path,
    can: Capability,
    chosen: Plan,
    config: DeliveryConfig,
    on_version: OnVersion,
    clock: Callable[[], float],
) -> tuple[float, bool]:
    """Seconds of standing still, and whether the cache is empty."""
    assert chosen.pause is not None, "weights are not loaded under running requests"
    has_paused = False
    try:
        async with paused(
            server,
            chosen.pause,
            limit_s=config.max_pause_s,
            timeout_s=config.control_timeout_s,
            retry_s=config.retry_s,
            lease_s=chosen.lease_s,
            clock=clock,
        ) as lease:
            has_paused = True
            try:
                await _load(server, version, path, can, timeout_s=config.load_timeout_s)
                is_flushed = await _flush(server, chosen.pause, timeout_s=config.control_timeout_s)
                if chosen.proof is Proof.VERSION:
                    await _check_version(server, version, timeout_s=config.control_timeout_s)
            except DeclinedError:
                raise
            except BaseException:
                on_version(None)
                raise
            on_version(version if chosen.proof is Proof.VERSION else None)
    except RefusedError as error:
        if has_paused:
            raise
        todo = f"; {WITHOUT_PAUSE}" if error.status in (404, 405) else ""
        msg = f"it cannot be paused for new weights by {chosen.pause}: {error}{todo}"
        raise DeclinedError(msg) from error
    assert lease.seconds is not None, "the pause is over"
    return lease.seconds, is_flushed


async def _load(
    server: Calls, version: int, path: Path, can: Capability, *, timeout_s: float
) -> None:
    """Have a server that stands still load a directory.

    Raises:
        DeclinedError: it has not begun to.
        EngineError: what it has now is not known.
    """
    body = {
        "model_path": str(path),
        "weight_version": str(version),
        "abort_all_requests": False,
        "flush_cache": False,  # see `delivery_plan`
    }
    try:
        loaded = await server.call("POST", "/update_weights_from_disk", body, timeout_s=timeout_s)
    except RefusedError as error:
        if is_untouched(can, error.status, error.words):
            raise _declined(path, error) from error
        raise
    _require_success("/update_weights_from_disk", loaded)


async def _load_adapter(
    server: Calls, weights: WeightVersion, config: DeliveryConfig, shelf: AdapterShelf
) -> int:
    """Load an adapter beside the others; the bytes it has. None is needed for the base model."""
    name, read = adapter_name(weights.version), 0
    if name is not None:
        manifest = await asyncio.to_thread(read_manifest, weights.path)
        await asyncio.to_thread(verify, weights.path, manifest)
        path = weights.path.absolute()
        read = _weight_bytes(path / file for file in manifest["files"])
        body = {"lora_name": name, "lora_path": str(path)}
        try:
            loaded = await _load_anew(server, body, config)
        except RefusedError as error:  # adapters touch neither the base nor one another
            raise _declined(path, error) from error
        _require_success("/load_lora_adapter", loaded)
        if name not in _adapter_names(loaded.get("loaded_adapters")):
            msg = f"the server does not list adapter {name!r} among those it has loaded: {loaded}"
            raise EngineError(msg)
    shelf.place(weights.version)
    await shelf.unload_idle(server, timeout_s=config.control_timeout_s)
    return read


async def _load_anew(
    server: Calls, body: Mapping[str, object], config: DeliveryConfig
) -> dict[str, object]:
    """Load an adapter; one of the same name, perhaps of an earlier run, makes way for it."""
    try:
        return await server.call(
            "POST", "/load_lora_adapter", body, timeout_s=config.load_timeout_s
        )
    except EngineError as error:
        if "already" not in str(error):
            raise
    name = {"lora_name": body["lora_name"]}
    await server.call("POST", "/unload_lora_adapter", name, timeout_s=config.load_timeout_s)
    return await server.call("POST", "/load_lora_adapter", body, timeout_s=config.load_timeout_s)


async def _check_version(server: Calls, version: int, *, timeout_s: float) -> None:
    info = await server.call("GET", "/get_model_info", timeout_s=timeout_s)
    label = info.get("weight_version")
    if read_version(label) != version:
        msg = (
            f"the server says that its weights are {label!r} after it has loaded version "
            f"{version}: is somebody else updating it?"
        )
        raise EngineError(msg)


async def _flush(server: Calls, mode: Pause, *, timeout_s: float) -> bool:
    """Ask for an empty cache; a server with requests under way refuses, which is no failure."""
    try:
        await server.call("POST", "/flush_cache", {}, timeout_s=timeout_s)
    except EngineError as error:
        logger.debug("cached prefixes stay after a pause by %s: %s", mode, error)
        return False
    return True


@asynccontextmanager
async def _held(directories: ModelDirectories, weights: WeightVersion) -> AsyncGenerator[Path]:
    """`ModelDirectories.held` without blocking; it is let go of even if nobody waited for it."""
    stack = ExitStack()
    entering = asyncio.ensure_future(
        asyncio.to_thread(stack.enter_context, directories.held(weights))
    )

    def let_go(done: asyncio.Future[Path]) -> None:
        if not done.cancelled():
            done.exception()  # seen
        stack.close()

    try:
        yield await asyncio.shield(entering)
    finally:
        if entering.done():
            let_go(entering)
        else:
            entering.add_done_callback(let_go)


def _declined(path: Path, error: RefusedError) -> DeclinedError:
    return DeclinedError(
        f"it does not load {path} (it answered {error.status}: {error.words}); servers read "
        "weights themselves, so that path has to be readable there under the same name: put "
        "run.dir on a file system that this machine and the server both have there"
    )


def _require_success(path: str, answer: dict[str, object]) -> None:
    if answer.get("success") is not True:
        words = answer.get("message") or answer.get("error_message") or answer
        msg = f"{path} failed on the server: {words}"
        raise EngineError(msg)


def _adapter_names(listed: Any) -> Sequence[str]:
    """A server lists them as a mapping from names, or as names."""
    return [str(name) for name in listed] if isinstance(listed, (dict, list)) else []


def _weight_bytes(files: Any) -> int:
    return sum(file.stat().st_size for file in files)
