"""Publishing: the only place where the policy version advances.

Invariant: version and step are one number; version n is the state after n updates.
"""

from __future__ import annotations

import jax
import numpy as np

from clawjax.config import LearnerConfig
from clawjax.errors import StoreError
from clawjax.learner.decoder import stack, unstack
from clawjax.learner.step import TrainState
from clawjax.models.export import params_to_tensors, tensors_to_params
from clawjax.models.load import LoadedModel
from clawjax.models.lora import adapter_from_tensors, adapter_to_tensors, peft_config
from clawjax.models.registry import config_from_architecture
from clawjax.models.transformer import Params
from clawjax.protocols import WeightStore, WeightVersion

__all__ = ["Publisher"]


class Publisher:
    """Turns train states into published versions, and back."""

    def __init__(self, store: WeightStore, model: LoadedModel, config: LearnerConfig) -> None:
        """Publish to `store` what `config.method` trains of `model`."""
        self._store = store
        self._base_id = model.base_id
        self._architecture = model.architecture
        self._config = config

    @property
    def kind(self) -> str:
        """`adapter` or `full`, as in the manifest."""
        return "adapter" if self._config.method == "lora" else "full"

    def latest(self) -> int:
        """The newest published version; 0 is the base model."""
        newest = self._store.latest()
        return 0 if newest is None else newest.version

    def publish(self, state: TrainState) -> WeightVersion | None:
        """Publish a state under its step; None at step 0, which is the base model itself.

        Raises:
            StoreError: the disk refuses, or the version exists with other weights.
        """
        step = int(state.step)
        if step == 0:
            return None
        return self._store.publish(
            self._tensors(unstack(jax.device_get(state.trainable))),
            version=step,
            parent=step - 1,
            step=step,
            base_model=self._base_id,
            kind=self.kind,
            config=self._describe(),
        )

    def load(self, version: int) -> Params:
        """The trainable weights of a published version, as a train state holds them.

        Raises:
            StoreError: damaged, or of another base model or kind.
        """
        found, tensors = self._store.load(version)
        for name, value, wanted in (
            ("base model", found.base_model, self._base_id),
            ("kind", found.kind, self.kind),
        ):
            if value != wanted:
                msg = (
                    f"version {version} has {name} {value}, this run trains {wanted}: "
                    "restore the setting or choose another run.dir"
                )
                raise StoreError(msg)
        if self.kind == "adapter":
            return stack(adapter_from_tensors(tensors))
        return stack(tensors_to_params(tensors, self._architecture))

    def _tensors(self, params: Params) -> dict[str, np.ndarray]:
        if self.kind == "adapter":
            return adapter_to_tensors(params)
        return params_to_tensors(params, self._architecture)

    def _describe(self) -> dict[str, object]:
        if self.kind == "adapter":
            return peft_config(self._config.lora, self._base_id)
        return config_from_architecture(self._architecture)
