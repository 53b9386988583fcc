"""A program for tests: one process of a learner that several of them make up.

`process_runs.py PROCESS COUNT PORT FOLDER`: trains on the turns of a log that only the first
process can open, and says as JSON what came of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import numpy as np
from learner_records import make_sample, next_state
from mesh_runs import settings
from turn_records import make_turn

from clawjax.config import (
    Baseline,
    DistributedConfig,
    DriftConfig,
    EngineConfig,
    GatewayConfig,
    ModelConfig,
    ObjectiveConfig,
    RewardConfig,
)
from clawjax.learner.build import build_learner
from clawjax.log.store import SqlTurnLog
from clawjax.models.load import load_model
from clawjax.models.processes import come_together, is_leader, led, led_call, whole
from clawjax.records import Verdict
from clawjax.testing import RecordingMonitor, temporary_log
from clawjax.weights import DirectoryWeightStore


def logged(folder: Path) -> SqlTurnLog:
    """A log of judged turns."""
    log = temporary_log(folder)
    for index, score in enumerate((1.0, -1.0, 1.0, 0.5, -0.5, 1.0)):
        sample = make_sample(f"t{index}", 4, 6 + index, seed=index + 1, vocab=200)
        turn = make_turn(
            sample.turn_id,
            prompt_ids=sample.prompt_ids,
            response_ids=sample.response_ids,
            sampler_logprobs=sample.sampler_logprobs,
            sampler_logprobs_t1=sample.sampler_logprobs,
        )
        verdict = Verdict(turn.turn_id, "next_state", score, judged_at=103.0)
        log.append(turn, next_state(turn_id=turn.turn_id), verdict)
    return log


if __name__ == "__main__":
    process, count, port = (int(argument) for argument in sys.argv[1:4])
    folder = Path(sys.argv[4])
    config = settings(
        "full",
        (2, 1, 2),
        distributed=DistributedConfig(
            enabled=count > 1,
            coordinator=f"127.0.0.1:{port}",
            processes=count,
            process_id=process,
            timeout_s=60,
        ),
        batch_turns=3,
        min_turns=1,
        max_mismatch=100.0,
        drift=DriftConfig(max_kl=10.0, max_step_reply_kl=1e-2),
    )
    come_together(config.distributed)
    monitor = RecordingMonitor()
    learner = build_learner(
        model=load_model(
            ModelConfig(name="tiny", path="random:llama", context_length=256), mesh=config.mesh
        ),
        objective=ObjectiveConfig(kl_coef=0.1, baseline=Baseline.none),
        learner=config,
        reward=RewardConfig(),
        log=led(logged(folder) if is_leader() else None, "log"),
        store=led(DirectoryWeightStore(folder / "weights"), "store", own=("load",)),
        monitor=led(monitor, "monitor"),
        run_dir=folder,
        seed=0,
        fixed_text="",
        engine=EngineConfig(),
        gateway=GatewayConfig(),
        clock=led_call(lambda: 1000.0, "clock"),
    )
    while learner.sweep():
        pass
    json.dump(
        {
            "process": jax.process_index(),
            "devices": [jax.local_device_count(), jax.device_count()],
            "version": learner.version,
            "metrics": [metrics for _, metrics in monitor.entries],
            "checked": learner.versions.checkpoints.restore(learner.versions.state) is not None,
            "norm": float(
                np.linalg.norm(whole(learner.versions.state.trainable["norm"]["weight"]))
            ),
        },
        sys.stdout,
    )
    learner.versions.checkpoints.close()
