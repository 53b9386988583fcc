"""The learner alone: on every further host of one that several processes make up.

`python experiments/learn.py learner.distributed.enabled=true ...`, configured as the
`experiments/run.py` of the first host; `run.dir` has to be a folder that all hosts see. The learner
is a process of its own, which is started again when it, or one on another host, has died.
"""

from pathlib import Path

import hydra
from _entry import guarded, is_checked_only, register_schema, start
from omegaconf import DictConfig

from clawjax.config import RunConfig, to_run_config

register_schema()


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> float | None:
    """Compose, validate, learn until told to stop."""
    return guarded(lambda: _join(to_run_config(config)))


def _join(config: RunConfig) -> None:
    from clawjax.runtime.join import join
    from clawjax.runtime.paths import RunPaths
    from clawjax.runtime.run import print_objective

    if config.run.dry:
        print_objective(config)
    if is_checked_only(config):
        return
    join(config, RunPaths(Path(config.run.dir)))


if __name__ == "__main__":
    start(main)
