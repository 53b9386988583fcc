"""Which way weights go, by what a server can do."""

import json
import os
from pathlib import Path

import pytest

from clawjax.config import DeliveryConfig
from clawjax.engine.sglang.delivery_plan import (
    Capability,
    Pause,
    Plan,
    Proof,
    Transport,
    adapter_name,
    cache_key,
    capability,
    plan,
    read_version,
)
from clawjax.errors import ConfigError, EngineError

PLAIN = Capability(says_version=True, takes_adapters=False)
WITH_LORA = Capability(says_version=True, takes_adapters=True)
MUTE = Capability(says_version=False, takes_adapters=False)
DISK = Plan(Transport.DISK, Pause.RETRACT, Proof.VERSION)
ADAPTER = Plan(Transport.ADAPTER, None, Proof.ADAPTERS)


def chosen(kind, can, *, has_probe=False, **config):
    return plan(kind, can, DeliveryConfig(**config), has_probe=has_probe)


@pytest.mark.parametrize(
    ("kind", "can", "config", "expected"),
    [
        ("adapter", WITH_LORA, {}, ADAPTER),
        ("base", WITH_LORA, {}, ADAPTER),
        ("full", WITH_LORA, {}, DISK),
        ("adapter", PLAIN, {}, DISK),
        ("base", PLAIN, {}, DISK),
        ("adapter", WITH_LORA, {"transport": "disk"}, DISK),
        ("adapter", WITH_LORA, {"transport": "adapter"}, ADAPTER),
        ("full", PLAIN, {"pause": "abort"}, Plan(Transport.DISK, Pause.ABORT, Proof.VERSION)),
    ],
)
def test_auto_takes_adapters_where_it_can(kind, can, config, expected):
    assert chosen(kind, can, **config) == expected


@pytest.mark.parametrize("kind", ["adapter", "base"])
def test_adapters_do_not_go_on_top_of_other_weights(kind):
    changed = Capability(says_version=True, takes_adapters=True, weight_version=3)
    assert chosen(kind, changed) == DISK
    with pytest.raises(EngineError, match=r"own weights are version 3.*start it again"):
        chosen(kind, changed, transport="adapter")


def test_the_pause_is_the_first_that_the_server_knows():
    can = Capability(says_version=True, takes_adapters=False, pauses=(Pause.IN_PLACE, Pause.ABORT))
    assert chosen("full", can).pause is Pause.IN_PLACE
    with pytest.raises(EngineError, match=r"pause=retract is not among .* knows: in_place, abort"):
        chosen("full", can, pause="retract")


def test_a_server_that_says_nothing_needs_a_probe():
    assert chosen("full", MUTE, has_probe=True, transport="disk").proof is Proof.PROBE
    with pytest.raises(EngineError, match="cannot show which weights it has"):
        chosen("full", MUTE, transport="disk")


@pytest.mark.parametrize(
    ("kind", "can", "config", "complaint"),
    [
        ("adapter", MUTE, {}, "takes no new weights.* and LoRA is off"),
        ("full", MUTE, {}, "takes no new weights: /get_model_info has no weight_version; start"),
        ("full", WITH_LORA, {"transport": "adapter"}, "kind 'full' are no adapter"),
        ("adapter", PLAIN, {"transport": "adapter"}, "the server has LoRA off: start it with"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(kind, can, config, complaint):
    with pytest.raises(EngineError, match=complaint):
        chosen(kind, can, **config)


def test_a_version_is_what_the_server_was_told():
    assert [read_version(label) for label in ("3", "0", "default", None, 3, "-1")] == [
        3,
        0,
        None,
        None,
        None,
        None,
    ]


def test_names_tell_versions_apart():
    assert adapter_name(0) is None
    assert len({adapter_name(version) for version in range(5)}) == 5
    assert len({cache_key(v, since) for v in range(5) for since in (7, 8)}) == 10


def test_what_servers_say_of_themselves():
    assert capability({"weight_version": "default"}, {"enable_lora": True}) == WITH_LORA
    assert capability({"weight_version": "2"}, {}).weight_version == 2
    assert capability({"model_path": "x"}, {"enable_lora": None}) == MUTE


def test_a_real_sglang_jax_takes_no_weights():
    shared = Path(os.environ.get("CLAWJAX_SGLANG_EXCHANGES", "/work/shared/data/sglang"))
    file = shared / "exchanges.json"
    if not file.is_file():
        pytest.skip("no recorded exchanges: set CLAWJAX_SGLANG_EXCHANGES to their folder")
    exchanges = {each["name"]: each for each in json.loads(file.read_text())}
    assert exchanges["err_update_weights"]["status"] == 404
    can = capability(exchanges["model_info"]["body"], exchanges["server_info"]["body"])
    with pytest.raises(EngineError, match="takes no new weights"):
        chosen("full", can)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"transport": "carrier pigeon"}, "delivery.transport='carrier pigeon' is unknown"),
        ({"pause": "stop"}, "delivery.pause='stop' is unknown"),
        ({"keep": 0}, "delivery.keep=0 is too small"),
        ({"max_pause_s": 0}, "delivery.max_pause_s=0 is too small"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(changes, complaint):
    with pytest.raises(ConfigError, match=complaint):
        DeliveryConfig(**changes)
