"""What entry points share: the schema, and mistakes told with the right exit code."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import TypeVar

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from clawjax.config import RunConfig
from clawjax.errors import ClawError, ConfigError

T = TypeVar("T")


def register_schema() -> None:
    """Let Hydra check every key and type against `RunConfig`."""
    ConfigStore.instance().store(name="schema", node=RunConfig)


def guarded(job: Callable[[], T]) -> T:
    """Do the job; a mistake in the configuration exits with 2, any other failure with 1."""
    try:
        return job()
    except ConfigError as error:
        print(f"Configuration error: {error}", file=sys.stderr)
        sys.exit(2)
    except ClawError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def start(main: Callable[[], object]) -> None:
    """Run `main`; what Hydra itself refuses is told like any other mistake in the configuration."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints the exception and exits with 1
    # The judge computes in numpy, beside engine and learner: threads of its own would only spin for
    # cores that those have. Read when numpy is imported, here and in the processes started.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
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
