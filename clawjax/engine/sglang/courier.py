"""`pool.Courier` by the deliveries of this package: disk or adapters, as each server can."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from clawjax.config import DeliveryConfig
from clawjax.engine.sglang.adapters import AdapterShelf
from clawjax.engine.sglang.delivery import Delivered, deliver
from clawjax.engine.sglang.directories import ModelDirectories
from clawjax.engine.sglang.lease import Calls
from clawjax.protocols import WeightVersion

__all__ = ["DeliveryCourier"]


class DeliveryCourier:
    """Knows the adapters of one server, from its start to its end."""

    def __init__(self, directories: ModelDirectories, config: DeliveryConfig) -> None:
        """Share the directories of versions with the couriers of other servers."""
        self._directories = directories
        self._config = config
        self._shelf = AdapterShelf()

    async def deliver(
        self,
        client: Calls,
        weights: WeightVersion,
        on_version: Callable[[int | None], None],
        *,
        is_doubtful: bool,
    ) -> Delivered:
        """See `delivery.deliver`."""
        return await deliver(
            client,
            weights,
            directories=self._directories,
            config=self._config,
            shelf=self._shelf,
            on_version=on_version,
            is_doubtful=is_doubtful,
        )

    def asked(self) -> AbstractContextManager[int]:
        """The adapter that a request has to ask for; it stays loaded meanwhile."""
        return self._shelf.asked()
