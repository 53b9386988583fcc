"""What was decided when a run began, and may not change as it goes on.

Owns `settings.json` of runs with a simulated user, and `offline_settings.json` of those that train
on a data set. Their results are of one policy by one objective: a folder that holds those of others
is refused before anything is started.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from clawjax.config import RunConfig
from clawjax.evals.report import BEFORE_FILE
from clawjax.models.load import open_source
from clawjax.runtime.holding import flat, hold, is_of
from clawjax.runtime.paths import RunPaths

__all__ = ["hold_offline_settings", "hold_settings"]

_DECIDING = ("run.seed", "model", "engine", "gateway", "reward", "objective", "learner", "user")
_FREE = (
    "model.path", "model.revision",  # a model is known by its content
    # how far it goes, and how fast
    "user.enabled", "user.updates", "user.max_turns", "user.max_seconds", "user.think_s",
    "learner.max_steps", "learner.max_mismatch", "learner.poll_s", "engine.poll_weights_s",
    # where it runs, and what that machine has room for
    "gateway.host", "gateway.port", "gateway.api_key_env", "gateway.allowed_hosts",
    "gateway.allowed_origins", "gateway.request_timeout_s", "gateway.keep_alive_s",
    "gateway.max_body_bytes", "gateway.limits", "gateway.metrics",
    "engine.sglang", "engine.slots", "engine.max_waiting", "engine.kept_prefixes",
    "engine.reuse_prefixes", "engine.shares_prefixes", "engine.prefill_chunk",
    "engine.tokens_per_dispatch", "engine.live_buckets", "engine.warm_up",
    "engine.compilation_cache",
    "learner.mesh", "learner.distributed", "learner.attention", "learner.remat",
    "learner.micro_batch_tokens", "learner.length_buckets", "learner.is_packed",
    "learner.nice", "learner.cpu_cores", "learner.keep_checkpoints", "learner.keep_versions",
    "reward.max_concurrency", "reward.judge_timeout_s", "reward.judge_patience_h",
    "reward.hack_watch", "reward.llm_judge.api_key_env", "reward.llm_judge.timeout_s",
    "reward.llm_judge.retries", "reward.llm_judge.max_concurrency",
)  # fmt: skip
"""May differ from one start to the next. What is not listed may not, nor what is added later."""
_OFFLINE_DECIDING = ("run.seed", "model", "objective", "learner", "offline")
_OFFLINE_FREE = (*_FREE, "offline.batches", "offline.files", "learner.idle_s")


def hold_settings(config: RunConfig, paths: RunPaths) -> None:
    """Keep what decides what is learnt; once something was measured by it, it is to stay.

    A folder of a version that kept nothing is gone on with. A setting that one of two versions
    does not have is not compared.

    Raises:
        ConfigError: the folder's results are by other settings, or the model cannot be read.
    """
    is_begun = (paths.root / BEFORE_FILE).exists()
    hold(paths.settings, _chosen(config, _DECIDING, _FREE), is_begun=is_begun)


def hold_offline_settings(config: RunConfig, paths: RunPaths, *, is_begun: bool) -> None:
    """The same of training on a data set, whose files and length may change.

    Raises:
        ConfigError: the folder's results are by other settings, or the model cannot be read.
    """
    now = _chosen(config, _OFFLINE_DECIDING, _OFFLINE_FREE)
    hold(paths.offline_settings, now, is_begun=is_begun)


def _chosen(
    config: RunConfig, deciding: tuple[str, ...], free: tuple[str, ...]
) -> Mapping[str, Any]:
    """The deciding settings as a file gives them back, and which weights are trained."""
    chosen = {
        key: value for key, value in flat(config) if is_of(key, deciding) and not is_of(key, free)
    }
    chosen["model"] = open_source(config.model, seed=config.run.seed).base_id()
    return json.loads(json.dumps(chosen, default=dataclasses.asdict))
