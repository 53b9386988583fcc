"""Run the four loops: `python experiments/run.py experiment=personal_demo`.

Exit codes: 0 done, 2 the configuration or this machine does not allow it, 1 anything else.
"""

import os
import sys
import traceback

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

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
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def start() -> None:
    """Run `main`; what Hydra itself refuses is told like any other mistake in the configuration."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints the exception and exits with 1
    try:
        main()
    except (HydraException, OmegaConfBaseException) as error:
        told = [str(each).strip() for each in (error, error.__cause__) if each is not None]
        print("Configuration error:", "\n".join(told), file=sys.stderr)
    except OSError as error:
        print(
            f"Configuration error: the run's folder cannot be made ({error}): "
            "set CLAWJAX_RUNS to a folder that can be written",
            file=sys.stderr,
        )
    else:
        return
    sys.exit(2)


if __name__ == "__main__":
    start()
