"""One server's deliveries, with what has to be remembered from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from clawjax.config.delivery import DeliveryConfig
from clawjax.engine.sglang.adapters import AdapterShelf
from clawjax.engine.sglang.delivery import Delivered, deliver
from clawjax.engine.sglang.directories import ModelDirectories
from clawjax.engine.sglang.lease import Calls
from clawjax.protocols import WeightVersion

__all__ = ["DirectoryCourier"]


class DirectoryCourier:
    """Brings versions to one server; a server that was started anew wants a new one."""

    def __init__(self, directories: ModelDirectories, config: DeliveryConfig) -> None:
        """Directories are shared by all servers."""
        self._directories = directories
        self._config = config
        self._shelf = AdapterShelf()

    async def deliver(
        self, client: Calls, weights: WeightVersion, on_version: Callable[[int], None]
    ) -> Delivered:
        """Bring a version, and return when the server has shown that it has it.

        Args:
            client: the server.
            weights: of the store, or version 0.
            on_version: told as soon as the server samples with them.

        Raises:
            StoreError: the weights are damaged or do not fit; the server has not been touched.
            EngineError: the server failed; which weights it has is not known.
        """
        return await deliver(
            client,
            weights,
            directories=self._directories,
            config=self._config,
            shelf=self._shelf,
            on_version=lambda version: None if version is None else on_version(version),
        )

    def asked(self) -> AbstractContextManager[int]:
        """While a request is under way: the adapter's version to ask for, which is not taken away.

        0: none.
        """
        return self._shelf.asked()
