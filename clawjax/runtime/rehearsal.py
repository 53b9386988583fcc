"""What `run.dry=true` looks at besides settings: files, models, runs and personas that they name.

Invariant: nothing is started, downloaded or written, and nobody is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from clawjax.config import RunConfig
from clawjax.config.checks import require
from clawjax.envs.persona import load_persona
from clawjax.evals.harness.protocols import Suite
from clawjax.learner.describe import describe
from clawjax.models.load import Source, check_model
from clawjax.runtime.agent_weights import chosen_weights, require_embedded
from clawjax.runtime.agents import scripted_agent
from clawjax.runtime.offline_rows import load_rows
from clawjax.runtime.offline_start import start_of

__all__ = [
    "rehearse_agent",
    "rehearse_data",
    "rehearse_model",
    "rehearse_personal",
    "rehearsed_objective",
]


def rehearse_model(config: RunConfig) -> Source | None:
    """Read tokenizer and shape; of a model that is only on the hub say that they are not known.

    Raises:
        ConfigError: missing, damaged, not supported, or a context that is longer than it allows.
    """
    source = check_model(config.model)
    if source is None:
        sys.stdout.write(
            f"Not looked at: model.path={config.model.path}, which is not on this machine: a start "
            "would download it from the hub.\n\n"
        )
    return source


def rehearse_personal(config: RunConfig) -> None:
    """Look for what the methods of a personal suite have in common.

    Raises:
        ConfigError: a persona is unknown, or its file lacks something; or as `rehearse_model`.
    """
    for persona in config.suite.personas:
        load_persona(persona)
    rehearse_model(config)


def rehearse_agent(config: RunConfig, suites: Sequence[Suite]) -> None:
    """Look for what the agent plays with; whether an endpoint answers is not asked.

    Raises:
        ConfigError: no such model, run, version, exploit or record.
    """
    if config.agent.kind == "policy":
        require_embedded(config)
        source = rehearse_model(config)
        chosen_weights(config, None if source is None else source.base_id())
    elif config.agent.kind != "endpoint":
        for suite in suites:
            scripted_agent(config.agent, suite)


def rehearse_data(config: RunConfig) -> None:
    """Read the files that are trained on, and look for the model and what training starts from.

    Raises:
        ConfigError: something is missing, or weights that this run does not go on with.
        DataError: a file cannot be read, or has a line of no known shape.
    """
    rehearse_model(config)
    load_rows(config)
    offline = config.offline
    if offline.reward_model is not None:
        require(
            Path(offline.reward_model).exists(),
            f"offline.reward_model={offline.reward_model} does not exist: name the folder that "
            "experiments/train_reward_model.py wrote, or the file of an earlier run",
        )
    start_of(config)


def rehearsed_objective(config: RunConfig) -> str:
    """What a data set would be learnt by, in words and formula."""
    objective = config.objective
    if objective.name == "sft":
        scores = "replies that were written or chosen, or have a positive score, in the data set"
    elif objective.is_dpo:
        scores = "the data set's: what was chosen is above what was rejected"
    else:
        model = config.offline.reward_model or "one that is fitted to the training pairs"
        scores = f"the reward model's ({model}), of replies that the policy draws to the prompts"
    return describe(objective, config.learner, config.reward, data_set=scores)
