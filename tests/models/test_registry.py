import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.errors import ConfigError
from clawjax.models.architecture import Architecture, RopeScaling
from clawjax.models.registry import architecture_from_config, config_from_architecture
from clawjax.models.tiny import tiny_architecture

BASE = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 30,
    "num_attention_heads": 8,
    "max_position_embeddings": 2048,
}
LLAMA3 = {
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}

scalings = st.one_of(
    st.none(),
    st.builds(RopeScaling, st.just("linear"), st.floats(1, 8), st.just(4096)),
    st.builds(RopeScaling, st.just("llama3"), st.floats(1, 8), st.sampled_from([16, 8192])),
    st.builds(
        RopeScaling,
        st.just("yarn"),
        st.floats(1, 8),
        st.sampled_from([16, 512]),
        beta_fast=st.floats(16, 64),
        attention_factor=st.one_of(st.none(), st.floats(0.5, 2)),
    ),
)


@given(st.sampled_from(["llama", "qwen2", "qwen3"]), scalings, st.booleans(), st.booleans())
def test_a_written_configuration_reads_as_the_same_architecture(family, scaling, is_tied, bias):
    arch = dataclasses.replace(tiny_architecture(family), rope_scaling=scaling, is_tied=is_tied)
    if family != "qwen2":
        arch = dataclasses.replace(arch, has_qkv_bias=bias, has_output_bias=bias)
    assert architecture_from_config(config_from_architecture(arch)) == arch


def test_defaults_where_a_configuration_is_silent():
    assert architecture_from_config(BASE) == Architecture(
        family="llama",
        vocab_size=100,
        hidden_size=64,
        intermediate_size=128,
        num_layers=30,
        num_heads=8,
        num_kv_heads=8,
        head_dim=8,
        max_positions=2048,
        rope_theta=10_000.0,
        norm_eps=1e-6,
        is_tied=False,
    )


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
        {"rope_theta": 5e5, "rope_scaling": {"type": "llama3", **LLAMA3}},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}},
        {
            "rope_theta": None,
            "rope_scaling": None,
            "rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3},
        },
    ],
)
def test_rope_settings_of_all_ages(rope):
    arch = architecture_from_config(BASE | rope)
    assert arch.rope_theta == 5e5
    assert arch.rope_scaling == RopeScaling("llama3", 32.0, 8192, 1.0, 4.0)


def test_default_rope_parameters_scale_nothing():
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}
    arch = architecture_from_config(BASE | rope)
    assert (arch.rope_theta, arch.rope_scaling) == (1e6, None)


def test_yarn_reaches_beyond_the_trained_positions():
    rope = {
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}
    }
    assert architecture_from_config(BASE | rope).max_positions == 8192


def test_biases_by_family():
    qwen2 = architecture_from_config(BASE | {"model_type": "qwen2"})
    assert (qwen2.has_qkv_bias, qwen2.has_output_bias, qwen2.has_qk_norm) == (True, False, False)
    qwen3 = architecture_from_config(BASE | {"model_type": "qwen3", "head_dim": 32})
    assert (qwen3.has_qkv_bias, qwen3.has_qk_norm, qwen3.head_dim) == (False, True, 32)
    llama = architecture_from_config(BASE | {"attention_bias": True})
    assert (llama.has_qkv_bias, llama.has_output_bias) == (True, True)


@pytest.mark.parametrize(
    "inactive",
    [
        {"use_sliding_window": False, "sliding_window": 4096},
        {"use_sliding_window": True, "sliding_window": None},
        {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 30},
        {"use_sliding_window": True, "sliding_window": 8, "layer_types": ["full_attention"] * 30},
    ],
)
def test_a_sliding_window_that_no_layer_uses_is_fine(inactive):
    architecture_from_config(BASE | {"model_type": "qwen2"} | inactive)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mixtral"}, "model_type='mixtral'.*llama, qwen2, qwen3"),
        ({"model_type": None}, "model_type=None"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ({"mlp_bias": True}, "mlp_bias=true"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config=.*awq"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor=0.5"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "'dynamic'.*linear, llama3"),
        ({"rope_scaling": {"type": "linear"}}, "lacks 'factor'"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0, "mscale": 0.7}}, "mscale=0.7"),
        ({"vocab_size": None}, "lacks 'vocab_size'"),
        (
            {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 64},
            "sliding-window",
        ),
        (
            {
                "model_type": "qwen3",
                "use_sliding_window": True,
                "sliding_window": 64,
                "layer_types": ["full_attention", "sliding_attention"],
            },
            "sliding-window",
        ),
    ],
)
def test_what_is_not_computed_is_refused_by_name(change, message):
    config = BASE | {"max_window_layers": 20} | change
    with pytest.raises(ConfigError, match=message):
        architecture_from_config(config)
