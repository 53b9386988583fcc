"""A program for tests: models and train states written on one mesh and read on another, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from mesh_runs import host, settings

from clawjax.config import ModelConfig, ObjectiveConfig
from clawjax.learner.checkpoint import Checkpoints, Progress
from clawjax.learner.decoder import stack
from clawjax.learner.digest import checksum
from clawjax.learner.publish import Publisher
from clawjax.learner.step import TrainState, TrainStep
from clawjax.models import huggingface
from clawjax.models.export import export_merged
from clawjax.models.load import load_model
from clawjax.weights import DirectoryWeightStore

MESHES = [(1, 1, 1), (8, 1, 1), (1, 8, 1), (2, 2, 2)]


class Reads:
    """Watches what is read of a model's files."""

    def __init__(self) -> None:
        self.largest = 0
        inner = huggingface._Tensors.part

        def part(tensors: Any, name: str, index: tuple[slice, ...]) -> np.ndarray:
            found = inner(tensors, name, index)
            self.largest = max(self.largest, found.size)
            return found

        huggingface._Tensors.part = part  # pyright: ignore


def moved(step: TrainStep) -> TrainState:
    """A state whose weights and moments are all different."""
    state = step.init(0)
    rng = np.random.default_rng(3)

    def draw(leaf: jax.Array) -> jax.Array:
        if leaf.dtype != np.float32:
            return leaf
        noise = rng.normal(size=leaf.shape).astype(np.float32)
        return jax.device_put(noise, leaf.sharding)

    drawn = state._replace(
        trainable=jax.tree.map(draw, state.trainable), opt_state=jax.tree.map(draw, state.opt_state)
    )
    return drawn._replace(step=step.placement.everywhere(jax.numpy.asarray(4, jax.numpy.int32)))


def differing(found: Any, wanted: Any) -> list[str]:
    ours, theirs = host(found), host(wanted)
    assert ours.keys() == theirs.keys()
    return [name for name in theirs if not np.array_equal(ours[name], theirs[name])]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    random = load_model(ModelConfig(name="tiny", path="random:qwen3", context_length=256))
    export_merged(folder / "model", random, random.params)
    reads = Reads()
    made: dict[str, Any] = {}
    for mesh in MESHES:
        name = "x".join(map(str, mesh))
        config = settings("full", mesh)
        reads.largest = 0
        model = load_model(
            ModelConfig(name="tiny", path=str(folder / "model"), context_length=256),
            mesh=config.mesh,
        )
        step = TrainStep(model, objective=ObjectiveConfig(), learner=config, failed_dir=folder)
        state = moved(step)
        publisher = Publisher(DirectoryWeightStore(folder / name / "weights"), model, config)
        publisher.publish(state, parent=3)
        checkpoints = Checkpoints(folder / name / "checkpoints", keep=1, identity={})
        checkpoints.save(state, Progress())
        made[name] = {
            "read": differing(model.params, stack(random.params)) if step.placement.mesh else [],
            "largest": reads.largest,
            "checksum": checksum(state),
            "published": differing(publisher.load(4), state.trainable),
            "wrong_place": [
                jax.tree_util.keystr(path)
                for path, leaf in jax.tree_util.tree_flatten_with_path(publisher.load(4))[0]
                if step.placement.mesh is not None
                and leaf.sharding.device_set != state.step.sharding.device_set
            ],
        }
        for other in made:
            restored = Checkpoints(folder / other / "checkpoints", keep=1, identity={}).restore(
                step.init(1)
            )
            assert restored is not None, (other, name)
            made[name][other] = differing(restored.state, state) + [
                jax.tree_util.keystr(path)
                for (path, leaf), kept in zip(
                    jax.tree_util.tree_flatten_with_path(restored.state)[0],
                    jax.tree.leaves(state),
                    strict=True,
                )
                if leaf.sharding != kept.sharding
            ]
    # And back, from the finest mesh to one device.
    one = TrainStep(
        random, objective=ObjectiveConfig(), learner=settings("full", (1, 1, 1)), failed_dir=folder
    )
    back = Checkpoints(folder / "2x2x2" / "checkpoints", keep=1, identity={}).restore(one.init(1))
    assert back is not None
    made["1x1x1"]["2x2x2"] = differing(back.state, moved(one))
    made["table"] = random.architecture.vocab_size * random.architecture.hidden_size
    json.dump(made, sys.stdout)
