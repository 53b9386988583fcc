"""The learner alone: on every further host of one that several processes make up.

`python experiments/learn.py learner.distributed.enabled=true ...`, configured as the
`experiments/run.py` of the first host; `run.dir` has to be a folder that all hosts see.
"""

from pathlib import Path

import hydra
from _entry import guarded, register_schema, start
from omegaconf import DictConfig

from clawjax.config import RunConfig, to_run_config

register_schema()


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> float | None:
    """Compose, validate, learn until told to stop."""
    return guarded(lambda: _learn(to_run_config(config)))


def _learn(config: RunConfig) -> None:
    from clawjax.runtime.child import configure_logging
    from clawjax.runtime.learn import learn
    from clawjax.runtime.paths import RunPaths

    configure_logging()
    learn(config, RunPaths(Path(config.run.dir)))


if __name__ == "__main__":
    start(main)
