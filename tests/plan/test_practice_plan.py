"""What practice and a bound on updates add, beside the arrays that they make."""

import gc

import jax
import pytest
from plan_configs import load

from clawjax.errors import ConfigError
from clawjax.learner import build
from clawjax.learner.build import _build_practice, _Shared
from clawjax.learner.replay_buffer import ReplayBuffer
from clawjax.learner.scoring import Scorer
from clawjax.learner.step import TrainStep
from clawjax.models.load import load_model
from clawjax.plan import find_architecture, require_fit
from clawjax.plan.learner import learner_share
from clawjax.plan.practice import MOST_AT_ONCE

TINY = ("experiment=combined", "model=tiny", "engine=tiny")


def parts_of(*overrides):
    config = load(*overrides)
    share = learner_share(find_architecture(config.model), config)
    return {part.name: part.size for part in share.parts}


def held():
    gc.collect()
    return sum(array.nbytes for array in jax.live_arrays())


@pytest.mark.parametrize(
    ("method", "dtype"), [("lora", "float32"), ("full", "float32"), ("lora", "bfloat16")]
)
def test_practice_is_planned_to_the_byte(method, dtype, tmp_path):
    settings = (*TINY, f"learner.method={method}", f"learner.compute_dtype={dtype}")
    config, parts = load(*settings), parts_of(*settings)
    before = held()
    model = load_model(config.model)
    step = TrainStep(model, objective=config.objective, learner=config.learner, failed_dir=tmp_path)
    state = step.init(0)
    scorer, replay_buffer = Scorer(config.learner), ReplayBuffer()
    shared = _Shared(model, config.objective, config.learner, step, scorer, replay_buffer)
    practice = _build_practice(shared, config.engine)
    lasting = ("base weights", "trained weights", "optimizer state", "loaded weights", "KV cache")
    planned, measured = sum(parts[name] for name in lasting), held() - before
    assert planned <= measured <= 1.001 * planned  # a random key, and counts
    drawing = practice._sampler._params(state.trainable)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(drawing)) == parts["weights that draw"]


def test_without_practice_or_a_bound_nothing_is_added():
    added = {"loaded weights", "weights that draw", "former weights"}
    assert not added & set(parts_of("experiment=one_cpu"))


def test_a_bound_keeps_the_weights_before_a_step():
    parts = parts_of("learner.drift.max_step_reply_kl=1.0", "learner=full")
    assert parts["former weights"] == parts["trained weights"]
    assert "loaded weights" not in parts


def test_answers_side_by_side_are_the_learners():
    assert MOST_AT_ONCE == build._MOST_AT_ONCE


def test_practice_that_does_not_fit_is_refused_with_its_setting():
    config = load("experiment=combined", "hardware.memory_gib=8")
    with pytest.raises(ConfigError, match=r"needs? .* of a device, above 7.20 GiB.*: set "):
        require_fit(find_architecture(config.model), config)
