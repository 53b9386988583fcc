"""Configurations to plan for."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from clawjax.config import RunConfig, hydra_schema, to_run_config

CONF = Path(__file__).parents[2] / "conf"


def load(*overrides: str) -> RunConfig:
    ConfigStore.instance().store(name="schema", node=hydra_schema())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return to_run_config(compose("config", [*overrides, "run.dir=/tmp/run"]))
