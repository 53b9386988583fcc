"""What entry points share: the schema, and mistakes told with the right exit code."""

import os
import select
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clawjax.config import RunConfig, hydra_schema
from clawjax.config.hosts import spare_loopback
from clawjax.config.own import refuse_secret_options
from clawjax.config.secrets import find_secret
from clawjax.errors import ClawError, ConfigError

T = TypeVar("T")
_INTERRUPTED = 130
"""The exit code, as shells have it."""


def register_schema() -> None:
    """Let Hydra check every key and type against `RunConfig`."""
    ConfigStore.instance().store(name="schema", node=hydra_schema())


def refuse_secrets(values: object) -> None:
    """Refuse passwords and keys, in URLs and as options of one's own, wherever they were written.

    Raises:
        ConfigError: there is one; the message says where, not what.
    """
    found = find_secret(values)
    if found is not None:
        msg = (
            f"{found} has a URL with a user or password in it, which would be saved with the run: "
            "set CLAWJAX_LOG_URL in the environment and use log=postgres for the turn log; for a "
            "service leave it out and set the environment variable that its api_key_env names"
        )
        raise ConfigError(msg)
    refuse_secret_options(values)


def refuse_written_secrets(overrides: Iterable[str]) -> None:
    """The same of overrides as they were written, and of everything that a range has to choose.

    Raises:
        ConfigError: there is one; the message says of which setting, not what.
        HydraException: one that cannot be read.
    """
    parse = OverridesParser.create().parse_override
    for override in map(parse, overrides):
        key = override.key_or_group
        if not override.is_sweep_override():
            refuse_secrets({key: override.value()})
        elif isinstance(override.value(), ChoiceSweep):
            for chosen in override.sweep_string_iterator():
                refuse_secrets({key: parse(f"{key}={chosen}").value()})


class RefuseSecrets(Callback):
    """Ends the program before Hydra saves a password; what it raised would only be a warning."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Look at the configuration and the command line."""
        self._look(config)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Look at what all jobs have in common, and the command line."""
        self._look(config)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Look at a job's own, which is saved by now."""
        self._look(config, Path(config.hydra.runtime.output_dir, str(config.hydra.output_subdir)))

    def _look(self, config: DictConfig, saved: Path | None = None) -> None:
        values = OmegaConf.to_container(config, resolve=False)
        assert isinstance(values, dict)
        hydra: Any = values.pop("hydra")
        try:
            refuse_secrets(values)
            refuse_written_secrets(hydra["overrides"]["task"])  # by the settings' own names
            refuse_secrets({"hydra": hydra})
        except ConfigError as error:
            try:
                if saved is not None and saved.is_dir():
                    shutil.rmtree(saved)
            finally:
                sys.exit(tell(error))


def guarded(job: Callable[[], T]) -> T:
    """Do the job; a mistake in the configuration exits with 2, any other failure with 1.

    A job of a multirun raises instead, so that the others of its batch are done all the same.
    """
    try:
        return job()
    except BrokenPipeError:
        raise  # for `start`
    except Exception as error:
        if HydraConfig.get().mode is not RunMode.MULTIRUN:
            sys.exit(tell(error))
        if isinstance(error, OSError):  # `start` takes one for trouble with the run's folder
            raise JobError(f"a job has failed: {error!r}") from error
        raise


class JobError(Exception):
    """What the operating system refused to a job of a multirun."""


def end_all_jobs(is_stopped: bool) -> None:
    """Where a job of a multirun was told to stop, have no other begin: all of them are meant.

    Raises:
        KeyboardInterrupt: which Hydra takes for no failure of the job's.
    """
    if is_stopped and HydraConfig.get().mode is RunMode.MULTIRUN:
        raise KeyboardInterrupt


def is_checked_only(config: RunConfig) -> bool:
    """Whether nothing is to be started: `run.dry`, once the configuration was found to be valid.

    Raises:
        ConfigError: `run.plan`, where there is no run to plan.
    """
    if config.run.plan:
        msg = "run.plan=true plans a training run, which this is not: use run.dry=true to validate"
        raise ConfigError(msg)
    if config.run.dry:
        print("The configuration is valid; with run.dry=true nothing was started.")
    return config.run.dry


def is_unread() -> bool:
    """Whether the reader of standard output, e.g. `head`, has seen enough and is gone."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def leave_pipe() -> None:
    """What is still to be written goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(error: Exception) -> int:
    """Say what went wrong; the exit code."""
    if isinstance(error, ConfigError):
        print(f"Configuration error: {error}", file=sys.stderr)
        return 2
    if isinstance(error, ClawError):
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    else:
        traceback.print_exception(error)
    return 1


def start(main: Callable[[], object]) -> None:
    """Run `main`; what Hydra itself refuses is told like any other mistake in the configuration."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints the exception and exits with 1
    # The judge computes in numpy, beside engine and learner: threads of its own would only spin for
    # cores that those have. Read when numpy is imported, here and in the processes started.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    spare_loopback(os.environ)
    # A launcher's job may start in a process that was not started from this folder.
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    try:
        if {"--help", "-h"} & set(sys.argv[1:]):
            print(sys.modules["__main__"].__doc__)
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on.", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except BrokenPipeError as error:
        if not is_unread():
            sys.exit(tell(error))
        leave_pipe()
        return
    except (HydraException, OmegaConfBaseException) as error:
        told = [str(each).strip() for each in (error, error.__cause__) if each is not None]
        print("Configuration error:", "\n".join(told), file=sys.stderr)
    except OSError as error:
        print(
            f"Configuration error: the run's folder cannot be made ({error}): "
            "set CLAWJAX_RUNS to a folder that can be written",
            file=sys.stderr,
        )
    except Exception as error:  # of a job of a multirun
        sys.exit(tell(error))
    else:
        return
    sys.exit(2)
