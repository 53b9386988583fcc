"""A process that should compute on an accelerator never computes on the processor in silence."""

import logging

import jax
import pytest

from clawjax.errors import ConfigError
from clawjax.models import devices
from clawjax.models.devices import expects_gpu, expects_tpu, say_devices, takes_all_memory

LIBRARY = {"TPU_LIBRARY_PATH": "/opt/libtpu.so"}


@pytest.fixture
def dev(tmp_path):
    """A machine's /dev, with a control node that says nothing of chips."""
    (tmp_path / "vfio").mkdir()
    (tmp_path / "vfio" / "vfio").touch()
    return tmp_path


@pytest.mark.parametrize("node", ["accel0", "vfio/3"])
def test_a_tpu_is_expected_where_its_chips_and_its_library_are(dev, node, monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    assert not expects_tpu(LIBRARY, dev=dev)
    (dev / node).touch()
    assert expects_tpu(LIBRARY, dev=dev)
    assert expects_tpu(LIBRARY | {"JAX_PLATFORMS": "tpu,cpu"}, dev=dev)
    assert not expects_tpu(LIBRARY | {"JAX_PLATFORMS": "cpu"}, dev=dev)
    assert not expects_tpu({}, dev=dev)


def test_a_gpu_is_expected_where_jax_has_a_plugin_for_it(dev, monkeypatch):
    (dev / "nvidia0").touch()
    monkeypatch.setattr(devices, "_is_installed", lambda package: package == "jax-cuda12-plugin")
    assert expects_gpu({}, dev=dev)
    assert expects_gpu({"JAX_PLATFORMS": "cuda"}, dev=dev)
    assert not expects_gpu({"JAX_PLATFORMS": "cpu"}, dev=dev)
    assert not expects_gpu({"CUDA_VISIBLE_DEVICES": ""}, dev=dev)
    monkeypatch.setattr(devices, "_is_installed", lambda _: False)
    assert not expects_gpu({}, dev=dev)


@pytest.mark.parametrize(
    "variable",
    [
        "XLA_PYTHON_CLIENT_PREALLOCATE=false",
        "XLA_PYTHON_CLIENT_MEM_FRACTION=.45",
        "XLA_PYTHON_CLIENT_ALLOCATOR=platform",
    ],
)
def test_a_gpu_is_left_to_others_where_a_variable_says_so(variable):
    name, value = variable.split("=")
    assert takes_all_memory({})
    assert not takes_all_memory({name: value})


def test_a_process_says_what_it_computes_on(caplog):
    with caplog.at_level(logging.INFO, logger=devices.__name__):
        say_devices("the learner", used=1, is_tpu_expected=False)
    assert "the learner computes on 1 of " in caplog.text
    assert "x cpu (cpu)" in caplog.text


def test_a_tpu_that_another_process_holds_is_not_replaced_by_the_processor(monkeypatch):
    reason = "Backend 'tpu' failed to initialize: The TPU is already in use by process 123"
    real = jax.devices

    def held(platform=None):
        if platform == "tpu":
            raise RuntimeError(reason)
        return real(platform)

    monkeypatch.setattr(jax, "devices", held)
    message = r"the engine would compute on the cpu, .*in use by process 123\): end the process"
    with pytest.raises(ConfigError, match=message):
        say_devices("the engine", used=1, is_tpu_expected=True)


def test_a_platform_that_was_asked_for_and_is_not_there_is_refused(monkeypatch):
    def missing(platform=None):
        raise RuntimeError("Unable to initialize backend 'tpu'")

    monkeypatch.setattr(jax, "devices", missing)
    with pytest.raises(ConfigError, match="no device to compute on: Unable to initialize"):
        say_devices("the learner", used=None, is_tpu_expected=False)
