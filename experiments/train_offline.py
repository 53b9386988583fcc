"""Train on a data set: `python experiments/train_offline.py objective=dpo offline.files=[F.jsonl]`.

`objective=sft` imitates, `dpo` compares, `rlhf` and `grpo` draw replies and learn from a reward
model. The result is a run's folder like any other: `experiments/run.py run.name=NAME` serves it and
learns on from people, `experiments/evaluate.py agent.run=FOLDER` measures it, and the same command
resumes it. Exit codes: 0 done, 2 the configuration or this machine does not allow it, 1 anything
else.
"""

import hydra
from _entry import end_all_jobs, guarded, register_schema, start
from omegaconf import DictConfig

from clawjax.config import RunConfig, to_run_config

register_schema()


@hydra.main(version_base="1.3", config_path="../conf", config_name="train_offline")
def main(config: DictConfig) -> float | None:
    """Compose, validate, train; a sweep gets the held-out accuracy, where there are pairs."""
    return guarded(lambda: _train(to_run_config(config)))


def _train(config: RunConfig) -> float | None:
    from clawjax.runtime.offline import train_offline
    from clawjax.runtime.priority import step_back
    from clawjax.runtime.run import print_plan

    if config.run.plan:
        print_plan(config)
        return None
    step_back(config.learner)
    found = train_offline(config)
    end_all_jobs(found.is_stopped)
    return found.accuracy


if __name__ == "__main__":
    start(main)
