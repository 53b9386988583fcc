"""Run the four loops: `python experiments/run.py experiment=personal_demo`.

Exit codes: 0 done, 2 the configuration or this machine does not allow it, 1 anything else.
"""

import hydra
from _entry import end_all_jobs, guarded, register_schema, start
from omegaconf import DictConfig

from clawjax.config import RunConfig, to_run_config

register_schema()


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> float | None:
    """Compose, validate, run; a sweep gets the held-out style score."""
    return guarded(lambda: _run(to_run_config(config)))


def _run(config: RunConfig) -> float | None:
    from clawjax.runtime.run import run

    score = run(config)
    end_all_jobs(score is None and not (config.run.plan or config.run.dry))
    return score


if __name__ == "__main__":
    start(main)
