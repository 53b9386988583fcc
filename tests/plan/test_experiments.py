"""Every setting that ships composes, is placed, and fits the devices it names."""

import pytest
from plan_configs import CONF, load

from clawjax.learner.describe import describe
from clawjax.plan import find_architecture, require_fit

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SIZED = ["one_cpu", "gpu_24gb", "openclaw", "gpus_8", "tpu_v5e_8", "hosts_8"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_setting_composes_and_plans(name):
    config = load(f"experiment={name}")
    plan = require_fit(find_architecture(config.model), config)
    assert describe(config.objective, config.learner, config.reward)
    assert plan.tokens_per_step > 0
    if name in SIZED:
        assert plan.limit is not None
        assert plan.learner.devices + plan.engine.devices <= config.hardware.devices or (
            plan.is_shared
        )


@pytest.mark.parametrize("name", SIZED)
def test_a_third_of_the_memory_would_be_told(name):
    config = load(f"experiment={name}")
    third = config.hardware.memory_gib / 3
    small = load(f"experiment={name}", f"hardware.memory_gib={third}")
    with pytest.raises(ValueError, match="above"):
        require_fit(find_architecture(small.model), small)


def test_long_contexts_leave_room_for_several_replies():
    for name in ("gpus_8", "tpu_v5e_8", "hosts_8"):
        config = load(f"experiment={name}")
        plan = require_fit(find_architecture(config.model), config)
        assert plan.cache_tokens >= 8 * config.model.context_length


def test_openclaws_prompts_fit_and_are_learnt_from():
    config = load("experiment=openclaw")
    smallest_prompt = 43_000 / 3  # characters; a token of English has four or so
    reply = config.engine.max_response_tokens
    assert config.model.context_length >= 32_768
    assert smallest_prompt + reply <= config.learner.max_tokens < config.model.context_length
    assert config.learner.max_tokens == max(config.learner.length_buckets)
