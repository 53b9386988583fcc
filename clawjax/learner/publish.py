"""Publishing: the only place where versions are made.

Invariant: version and step are one number; version n is the state after n updates, be they on the
way to it or on a way that was given up.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from clawjax.config import LearnerConfig
from clawjax.errors import LearnerError
from clawjax.learner.decoder import stack, unstack
from clawjax.learner.step import TrainState
from clawjax.models.export import tensors_to_params
from clawjax.models.load import LoadedModel
from clawjax.models.lora import adapter_from_tensors, adapter_to_tensors, peft_config
from clawjax.models.peft import read_plain_lora
from clawjax.models.processes import is_leader, whole
from clawjax.models.registry import config_from_architecture
from clawjax.models.sharding import Placement
from clawjax.models.stacked import read_stacked, stacked_tensors
from clawjax.models.transformer import Params
from clawjax.protocols import WeightStore, WeightVersion
from clawjax.weights import Lineage

__all__ = ["Publisher"]

_RESTORE = "restore the setting or choose another run.dir"


class Publisher:
    """Turns train states into published versions, and back."""

    def __init__(
        self,
        store: WeightStore,
        model: LoadedModel,
        config: LearnerConfig,
        *,
        origin: Callable[[], Params | None] = lambda: None,
    ) -> None:
        """Publish to `store` what `config.method` trains of `model`.

        Args:
            store: where versions go.
            model: the base.
            config: what is trained of it.
            origin: the weights that training begins with; None for those of the base model.
        """
        self._store = store
        self._origin = origin
        self._base_id = model.base_id
        self._base_name = model.base_name
        self._architecture = model.architecture
        self._config = config
        self._placement = Placement.of(config.mesh, model.architecture)

    @property
    def kind(self) -> str:
        """`adapter` or `full`, as in the manifest."""
        return "adapter" if self._config.method == "lora" else "full"

    def served(self) -> int | None:
        """The version that is served, 0 for the base model; None: nothing was ever published."""
        latest = self._store.latest()
        return None if latest is None else latest.version

    def lineage(self) -> Lineage:
        """All versions and whom they descend from."""
        return Lineage.of_store(self._store)

    def publish(
        self, state: TrainState, *, parent: int, refused: str | None = None
    ) -> WeightVersion | None:
        """Publish a state under its step; None at step 0, which is the base model itself.

        Args:
            state: to be kept.
            parent: the version that its newest step started from.
            refused: why it is not to be served.

        Raises:
            StoreError: the disk refuses, or the version exists with other weights.
        """
        step = int(state.step)
        if step == 0:
            return None
        return self._store.publish(
            self._tensors(state.trainable),
            version=step,
            parent=parent,
            step=step,
            base_model=self._base_id,
            kind=self.kind,
            config=self._describe(),
            refused=refused,
        )

    def load(self, version: int) -> Params | None:
        """The trainable weights of a version, as a train state holds them; None for the base model.

        Version 0 is what training begins with.

        Raises:
            LearnerError: of another base model or kind, or adapters of other settings.
            StoreError: missing or damaged.
        """
        if version == 0:
            return self._origin()
        found, tensors = self._store.load(version)
        self._check_fit(found)
        if self.kind == "adapter":
            return stack(adapter_from_tensors(tensors))
        if self._placement.mesh is not None:
            return read_stacked(tensors, self._placement)
        return stack(tensors_to_params(tensors, self._architecture))

    def _check_fit(self, found: WeightVersion) -> None:
        """Raises LearnerError: what is trained here is something else."""
        version = found.version
        for name, value, wanted in (
            ("base model", found.base_model, self._base_id),
            ("kind", found.kind, self.kind),
        ):
            if value != wanted:
                msg = f"version {version} has {name} {value}, this run trains {wanted}: {_RESTORE}"
                raise LearnerError(msg)
        if self.kind != "adapter":
            return
        there = read_plain_lora(found.path / "adapter_config.json")
        other = there.difference(self._config.lora)
        if other is not None:
            msg = (
                f"version {version} has adapters of learner.lora.{other.name}={other.theirs}, this "
                f"run has {other.ours}, under which they are another policy: {_RESTORE}"
            )
            raise LearnerError(msg)

    def _tensors(self, trainable: Params) -> dict[str, np.ndarray]:
        """Gathered one by one; only the leader, who publishes them, keeps them."""
        if self.kind == "adapter":
            return adapter_to_tensors(unstack(jax.tree.map(whole, trainable)))
        kept = is_leader()
        tensors = stacked_tensors(trainable, self._architecture)
        return {name: tensor for name, tensor in tensors if kept}

    def _describe(self) -> dict[str, object]:
        if self.kind == "adapter":
            return peft_config(self._config.lora, self._base_name)
        return config_from_architecture(self._architecture)
