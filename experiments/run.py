"""Run the four loops: `python experiments/run.py experiment=personal_demo`.

Exit codes: 0 done, 2 the configuration or this machine does not allow it, 1 anything else.
"""

import sys

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from clawjax.config import RunConfig, to_run_config
from clawjax.errors import ClawError, ConfigError

ConfigStore.instance().store(name="schema", node=RunConfig)


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> float | None:
    """Compose, validate, run; a sweep gets the held-out style score."""
    from clawjax.runtime.run import run

    try:
        return run(to_run_config(config))
    except ConfigError as error:
        print(f"Configuration error: {error}", file=sys.stderr)
        sys.exit(2)
    except ClawError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
