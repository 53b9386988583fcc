"""Two processes that cannot share a device are refused, or told what they need, beforehand."""

import jax
import pytest

from clawjax.cli.checkup import Grade, check_devices
from clawjax.config import EngineConfig, RunConfig, RunSection, SglangConfig
from clawjax.errors import ConfigError
from clawjax.models import devices
from clawjax.runtime import run


def config_of(kind, tmp_path):
    sglang = SglangConfig(urls=["http://127.0.0.1:1"])
    return RunConfig(
        run=RunSection(dir=str(tmp_path)), engine=EngineConfig(kind=kind, sglang=sglang)
    )


def test_two_processes_on_one_tpu_are_refused_before_either_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "expects_tpu", lambda _: True)
    with pytest.raises(ConfigError, match=r"engine.kind=embedded .*JAX_PLATFORMS=cpu"):
        run._check_devices(config_of("embedded", tmp_path))
    run._check_devices(config_of("sglang", tmp_path))


def test_who_starts_two_processes_on_a_gpu_is_told_what_they_need(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "expects_gpu", lambda _: True)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    run._check_devices(config_of("embedded", tmp_path))
    assert "set XLA_PYTHON_CLIENT_PREALLOCATE=false" in capsys.readouterr().out
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    run._check_devices(config_of("embedded", tmp_path))
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("platform", "kind", "grade", "text"),
    [
        ("tpu", "embedded", Grade.WRONG, "one process at a time"),
        ("tpu", "sglang", Grade.GOOD, "(tpu)"),
        ("gpu", "embedded", Grade.DOUBTFUL, "XLA_PYTHON_CLIENT_MEM_FRACTION"),
        ("gpu", "sglang", Grade.GOOD, "(gpu)"),
        ("cpu", "embedded", Grade.GOOD, "(cpu)"),
    ],
)
def test_the_doctor_says_whether_a_runs_processes_can_share(
    platform, kind, grade, text, tmp_path, monkeypatch
):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    found = check_devices(config_of(kind, tmp_path))
    assert found.grade is grade
    assert text in found.text


def test_the_doctor_says_that_a_tpu_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "expects_tpu", lambda _: True)
    found = check_devices(config_of("embedded", tmp_path))
    assert found.grade is Grade.DOUBTFUL
    assert "JAX_PLATFORMS=tpu,cpu says which" in found.text
