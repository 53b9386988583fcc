"""Which weights answer a request: the server's own, or one of the adapters it was given.

The engine has one set of weights at a time. Invariants: a request that names an adapter gets all
its tokens from that adapter, one that names none gets none; whoever comes first is served first,
and requests for other weights wait until those before them have ended. Weights that replace the
server's own are taken at once, under running replies, whose tokens say which they are of.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from clawjax.engine.server.shelf import WeightShelf
from clawjax.errors import EngineError, WireError
from clawjax.protocols import Engine, WeightVersion

__all__ = ["Policies"]

_WAIT_S = 600.0
"""How long requests for other weights may go on before one that waits for its own gives up."""


class Policies:
    """The weights of one server, for one event loop."""

    def __init__(self, engine: Engine, shelf: WeightShelf, *, allows_adapters: bool) -> None:
        """Start with the base model; `engine` reads from `shelf`."""
        self._engine = engine
        self._shelf = shelf
        self._allows_adapters = allows_adapters
        self._own = shelf.load(0)[0]
        self._adapters: dict[str, WeightVersion] = {}
        self._served: WeightVersion | None = self._own
        """What the engine has; None while that is not known."""
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()
        self._turnstile = asyncio.Lock()  # keeps arrivals in order while weights change
        self._adapted = 0
        """Requests for adapters, waiting ones too."""
        self._changing = asyncio.Lock()  # one change of what is on offer at a time

    @property
    def weight_version(self) -> str:
        """What the server's own weights are called."""
        return self._shelf.label(self._own.version)

    @property
    def adapters(self) -> Mapping[str, str]:
        """Paths by name."""
        return {name: str(version.path) for name, version in self._adapters.items()}

    @property
    def allows_adapters(self) -> bool:
        """Whether any may be loaded."""
        return self._allows_adapters

    def label(self, version: int) -> str:
        """What clients call a version of the engine's."""
        return self._shelf.label(version)

    async def update(self, path: Path, label: str | None) -> str:
        """Serve other weights in place of the server's own; returns what they are called.

        Requests are answered by the old ones until then.

        Raises:
            StoreError: they cannot be served; the old ones stay.
            WireError: there are adapters, which belong to the old ones.
        """
        async with self._changing:
            if self._adapters or self._adapted:
                names = ", ".join(self._adapters) or "with requests under way"
                msg = f"adapters {names} belong to the weights served: unload them first"
                raise WireError(msg)
            async with self._turnstile:  # an adapter may have been the last to be used
                await self._serve(self._own)
            placed = await asyncio.to_thread(self._shelf.place, path, label)
            await self._engine.swap(placed)
            self._own = self._served = placed
            return self.weight_version

    async def load_adapter(self, name: str, path: Path) -> None:
        """Have an adapter ready for requests that name it.

        Raises:
            WireError: adapters are off, or do not belong to the weights served, or the name is
                taken.
            StoreError: there is no adapter in that directory.
        """
        async with self._changing:
            await self._load_adapter(name, path)

    async def _load_adapter(self, name: str, path: Path) -> None:
        if not self._allows_adapters:
            msg = "LoRA is not enabled. Please set `--enable-lora` to enable LoRA."
            raise WireError(msg)
        if self._own.version != 0:
            msg = (
                f"the weights served are {self.weight_version!r}, adapters belong to the base "
                "model: start the server again, or merge the adapter"
            )
            raise WireError(msg)
        if name in self._adapters:
            msg = f"LoRA adapter with name {name!r} is already loaded: unload it, or use another"
            raise WireError(msg)
        placed = await asyncio.to_thread(self._shelf.place, path, self.weight_version)
        if placed.kind != "adapter":
            msg = f"{path} holds a whole model: use /update_weights_from_disk"
            raise WireError(msg)
        self._adapters[name] = placed

    def unload_adapter(self, name: str) -> None:
        """Take no more requests for an adapter; those under way end as they began.

        Raises:
            WireError: there is none of that name.
        """
        if self._adapters.pop(name, None) is None:
            raise _not_loaded(name, self._adapters)

    @asynccontextmanager
    async def using(self, name: str | None) -> AsyncGenerator[None]:
        """Have the engine serve an adapter, or none, for as long as the context lasts.

        Raises:
            WireError: it is not loaded.
            StoreError: it cannot be read.
            EngineError: others have kept the engine for too long.
        """
        if name is not None and name not in self._adapters:
            raise _not_loaded(name, self._adapters)
        wanted = None if name is None else self._adapters[name]
        self._adapted += wanted is not None
        try:
            async with self._turn(wanted):
                yield
        finally:
            self._adapted -= wanted is not None

    @asynccontextmanager
    async def _turn(self, wanted: WeightVersion | None) -> AsyncGenerator[None]:
        """Wait until it may be served; `None` is the server's own."""
        try:
            async with asyncio.timeout(_WAIT_S), self._turnstile:
                await self._serve(wanted or self._own)
                self._users += 1
                self._unused.clear()
        except TimeoutError as error:
            msg = f"requests for other weights have gone on for {_WAIT_S:.0f} s: try again"
            raise EngineError(msg) from error
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def _serve(self, wanted: WeightVersion) -> None:
        """Raises what `Engine.swap` raises; whoever comes next tries again."""
        if wanted is self._served:
            return
        await self._unused.wait()
        self._served = None
        await self._engine.swap(wanted)
        self._served = wanted


def _not_loaded(name: str, known: Mapping[str, object]) -> WireError:
    listed = ", ".join(known) or "none"
    msg = f"LoRA adapter {name!r} is not loaded: {listed} is. Load it by /load_lora_adapter."
    return WireError(msg, param="lora_path")
