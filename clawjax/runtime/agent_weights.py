"""Which weights `agent=policy` is measured with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from clawjax.config import RunConfig
from clawjax.config.checks import require
from clawjax.errors import ConfigError
from clawjax.runtime.paths import RunPaths
from clawjax.weights import DirectoryWeightStore

__all__ = ["ChosenWeights", "chosen_weights", "require_embedded"]


class ChosenWeights(NamedTuple):
    """A version in a run's store."""

    store: DirectoryWeightStore
    version: int


def require_embedded(config: RunConfig) -> None:
    """Refuse servers, which may serve somebody else.

    Raises:
        ConfigError: `engine.kind` is another.
    """
    require(
        config.engine.kind == "embedded",
        f"engine.kind={config.engine.kind} is not served for agent=policy: use engine=embedded, or "
        "agent=endpoint with the address of a running gateway",
    )


def chosen_weights(config: RunConfig, base_id: str | None) -> ChosenWeights | None:
    """What `agent.run` and `agent.version` name; None where no run is named: the base model.

    Args:
        config: `agent` and, for what is told, `model`.
        base_id: of the configured model; None where that is not known yet.

    Raises:
        ConfigError: no such run or version, or one of another model.
        StoreError: the store cannot be read.
    """
    folder, version = config.agent.run, config.agent.version
    if folder is None:
        return None
    weights = RunPaths(Path(folder)).weights
    require(weights.is_dir(), f"agent.run={folder} holds no weights: name the folder of a run")
    store = DirectoryWeightStore(weights)
    latest = store.latest()
    wanted = (0 if latest is None else latest.version) if version is None else version
    if wanted > 0:
        _check(store, wanted, config, base_id)
    return ChosenWeights(store, wanted)


def _check(
    store: DirectoryWeightStore, wanted: int, config: RunConfig, base_id: str | None
) -> None:
    folder, made = config.agent.run, {each.version: each for each in store.versions()}
    if wanted not in made:
        known = f"of {min(made)} to {max(made)}" if made else "0, the base model, alone"
        msg = f"agent.version={wanted} is not in agent.run={folder}: name one {known}"
        raise ConfigError(msg)
    base = made[wanted].base_model
    require(
        base_id in (None, base),
        f"agent.run={folder} was trained from {base!r}, but model.path={config.model.path} is "
        f"{base_id!r}: name that run's model, as {folder}/config.yaml has it (model=, model.path=)",
    )
