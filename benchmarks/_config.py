"""Configurations composed from `conf/`, as the entry points compose them."""

from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from clawjax.config import RunConfig, hydra_schema, to_run_config

__all__ = ["composed"]

_CONF = Path(__file__).resolve().parents[1] / "conf"


def composed(folder: Path, *overrides: str, root: str = "config") -> RunConfig:
    """The configuration of a run that writes to `folder`.

    Args:
        folder: where everything goes.
        overrides: as on the command line of an entry point, e.g. `experiment=personal_demo`.
        root: `config` is that of `experiments/run.py`, `evaluate` of `experiments/evaluate.py`.

    Raises:
        ConfigError: the settings contradict each other.
    """
    ConfigStore.instance().store(name="schema", node=hydra_schema())
    where = (f"run.dir={folder}", "run.name=benchmark")
    with initialize_config_dir(str(_CONF), version_base="1.3"):
        return to_run_config(compose(root, overrides=[*overrides, *where]))
