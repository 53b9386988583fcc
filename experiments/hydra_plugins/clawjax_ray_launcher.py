"""A Hydra launcher on Ray: one task per job. Hydra finds it here, Ray is imported when it is used.

The published plugin (hydra-ray-launcher 1.2) pins a Ray that does not exist for Python 3.11.
Invariant: the results are in the order of the jobs, and a job that failed fails the sweep after the
others are done, as with every launcher.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

logger = logging.getLogger(__name__)


class RayLauncher(Launcher):
    """`hydra/launcher=ray`."""

    def __init__(self, address: str | None, num_cpus: float, num_gpus: float) -> None:
        """Where, and what each job takes.

        Args:
            address: of a cluster, `auto` for the one of the environment; None: this machine.
            num_cpus: per job.
            num_gpus: per job.
        """
        self._address, self._takes = address, {"num_cpus": num_cpus, "num_gpus": num_gpus}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """What Hydra hands over."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run all jobs; their returns.

        Raises:
            ImportError: Ray is not installed.
        """
        import ray  # pyright: ignore[reportMissingImports] - an extra

        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        Path(str(self._config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        if not ray.is_initialized():
            variables = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
            ray.init(
                address=self._address,
                include_dashboard=False,
                runtime_env={"env_vars": variables},
                log_to_driver=False,
            )
        remote = ray.remote(**self._takes)(_run)
        state = Singleton.get_state()
        pending = []
        for index, overrides in enumerate(job_overrides, start=initial_job_idx):
            logger.info("#%d: %s", index, " ".join(filter_overrides(overrides)))
            job = (self._context, self._config, self._task, state, list(overrides), index)
            pending.append(remote.remote(*job))
        return ray.get(pending)


def _run(
    context: HydraContext,
    config: DictConfig,
    task: TaskFunction,
    state: dict[Any, Any],
    overrides: list[str],
    index: int,
) -> JobReturn:
    """One job, in a process of Ray's."""
    setup_globals()
    Singleton.set_state(state)
    chosen = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(chosen):
        chosen.hydra.job.id = f"{chosen.hydra.job.name}_{index}"
        chosen.hydra.job.num = index
    HydraConfig.instance().set_config(chosen)
    return run_job(
        hydra_context=context,
        config=chosen,
        task_function=task,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
