"""A program for tests: the learner's parts on meshes of eight virtual devices, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from learner_records import make_sample

from clawjax.config import (
    DriftConfig,
    LearnerConfig,
    LoraConfig,
    MeshConfig,
    ModelConfig,
    ObjectiveConfig,
)
from clawjax.learner.batching import Batch, make_batch
from clawjax.learner.budget import DriftBudget
from clawjax.learner.scoring import Scorer
from clawjax.learner.step import TrainState, TrainStep
from clawjax.models.load import LoadedModel, load_model
from clawjax.records import Sample

LENGTH = 32
STEPS = 2


def settings(method: str, mesh: tuple[int, int, int], **changes: Any) -> LearnerConfig:
    return LearnerConfig(
        method=method,
        mesh=MeshConfig(*mesh),
        lora=LoraConfig(rank=4, alpha=8.0),
        learning_rate=1e-3,
        adam_eps=1e-6,  # what is 0 but for rounding moves nothing
        max_tokens=LENGTH,
        length_buckets=[LENGTH],
        micro_batch_tokens=2 * LENGTH,
        **changes,
    )


def samples() -> list[Sample]:
    sizes = [(5, 9, 1.0), (12, 6, -1.0), (3, 25, -0.5), (8, 20, 0.25), (4, 4, 1.0)]
    return [
        make_sample(f"t{i}", p, r, credit=c, temperature=0.8, seed=i + 1, vocab=200, version=-1)
        for i, (p, r, c) in enumerate(sizes)
    ]


def batch(chosen: list[Sample]) -> Batch:
    return make_batch(chosen, version=0, length_buckets=[LENGTH], micro_batch_tokens=2 * LENGTH)


def model_of(family: str) -> LoadedModel:
    return load_model(ModelConfig(name="tiny", path=f"random:{family}", context_length=256))


def host(tree: Any) -> dict[str, np.ndarray]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def trained(step: TrainStep) -> tuple[TrainState, list[float]]:
    state, losses = step.init(0), []
    for _ in range(STEPS):
        state, metrics = step.run(state, [batch(samples())])
        losses += [metrics[f"train/{name}"] for name in ("loss", "kl", "entropy", "grad_norm")]
    return state, losses


def largest_difference(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(found[name] - wanted[name]).max()) for name in wanted)


def measured(family: str, method: str, mesh: tuple[int, int, int], folder: Path) -> dict[str, Any]:
    """What the step, the scorer and the budget say, on host."""
    step = TrainStep(
        model_of(family),
        objective=ObjectiveConfig(kl_coef=0.1, entropy_coef=0.01),
        learner=settings(method, mesh),
        failed_dir=folder,
    )
    state, losses = trained(step)
    scored = Scorer(settings(method, mesh)).score(step.policy(state), samples(), k=3)
    budget = DriftBudget(
        DriftConfig(max_kl=1.0, max_nll_increase=1.0),
        step.base,
        fixed_text=range(60),
        length_buckets=[LENGTH],
    )
    kernel = step.policy(state).params["layers"]["mlp"]["gate_proj"]["kernel"]
    return {
        "losses": losses,
        "weights": host(state.trainable),
        "moments": host(state.opt_state),
        "logprobs": [list(map(float, one.logprobs)) for one in scored],
        "likeliest": [one.likeliest_ids.tolist() for one in scored],
        "drift": budget.check(step.policy(state), samples()).metrics,
        "devices": len(kernel.sharding.device_set),
        "part": kernel.size / kernel.addressable_data(0).size,
    }


def compared(family: str, method: str, meshes: list[tuple[int, int, int]], folder: Path) -> Any:
    one = measured(family, method, (1, 1, 1), folder)
    found = {}
    for mesh in meshes:
        other = measured(family, method, mesh, folder)
        for name in ("weights", "moments"):
            other[name] = largest_difference(other[name], one[name])
        found["x".join(map(str, mesh))] = other
    one.pop("weights"), one.pop("moments")
    return {"one": one, "meshes": found}


if __name__ == "__main__":
    family, method, folder, *meshes = sys.argv[1:]
    asked = [tuple(map(int, mesh.split("x"))) for mesh in meshes]
    json.dump(compared(family, method, asked, Path(folder)), sys.stdout)
