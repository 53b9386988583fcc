"""What training on a data set starts from: the weights that another run serves.

Invariant: where training starts is what is served there. Adapters are numbers that mean nothing
without their rank, alpha and layers, so a run with others is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from clawjax.config import RunConfig
from clawjax.config.checks import require
from clawjax.errors import ConfigError
from clawjax.models.peft import read_plain_lora
from clawjax.protocols import WeightVersion
from clawjax.runtime.paths import RunPaths
from clawjax.weights import DirectoryWeightStore

__all__ = ["Start", "start_of"]


class Start(NamedTuple):
    """Weights of another run."""

    store: DirectoryWeightStore
    version: WeightVersion
    """The one that is served there."""


def start_of(config: RunConfig) -> Start | None:
    """What `offline.start_from` names; None: training starts from the base model.

    Raises:
        ConfigError: nothing trained is served there, or what this run does not go on with.
        StoreError: the store cannot be read.
    """
    folder = config.offline.start_from
    if folder is None:
        return None
    store = DirectoryWeightStore(RunPaths(Path(folder)).weights)
    served = store.latest()
    if served is None or served.version == 0:
        msg = (
            f"offline.start_from={folder} serves no trained version: name the folder of a run that "
            "has trained"
        )
        raise ConfigError(msg)
    _check_fit(config, served)
    return Start(store, served)


def _check_fit(config: RunConfig, served: WeightVersion) -> None:
    """Raises ConfigError: other weights are trained here than are served there."""
    folder, learner = config.offline.start_from, config.learner
    method = "lora" if served.kind == "adapter" else "full"
    require(
        learner.method == method,
        f"offline.start_from={folder} was trained with learner.method={method}, this run has "
        f"{learner.method}: set it to that",
    )
    if learner.method == "full":
        return
    found = read_plain_lora(served.path / "adapter_config.json").difference(learner.lora)
    if found is not None:
        msg = (
            f"offline.start_from={folder} has adapters of learner.lora.{found.name}="
            f"{found.theirs}, this run has {found.ours}, under which they are another policy: set "
            "it to that"
        )
        raise ConfigError(msg)
