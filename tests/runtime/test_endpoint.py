"""Start-up checks: what cannot work says so before anything is started."""

import socket

import pytest
from omegaconf import OmegaConf

from clawjax.config import GatewayConfig, RunConfig
from clawjax.config.running import RunSection
from clawjax.errors import ConfigError
from clawjax.keys import KEY_FILE, KeyFile, Role, new_key
from clawjax.runtime.child import encode_config
from clawjax.runtime.console import connection_lines
from clawjax.runtime.endpoint import bind, open_keys


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
            bind(GatewayConfig(port=port))


def test_port_zero_takes_a_free_one():
    assert bind(GatewayConfig(port=0)) > 0


def run_config(folder, **gateway) -> RunConfig:
    return RunConfig(run=RunSection(dir=str(folder)), gateway=GatewayConfig(**gateway))


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    monkeypatch.delenv("CLAWJAX_API_KEY", raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_key(host, tmp_path):
    assert not open_keys(run_config(tmp_path, host=host)).is_required


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_anything_else_needs_one(host, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"clawjax keys create .*set CLAWJAX_API_KEY"):
        open_keys(run_config(tmp_path, host=host))
    monkeypatch.setenv("CLAWJAX_API_KEY", "k")
    assert open_keys(run_config(tmp_path, host=host)).find(b"k") is not None


def test_a_key_of_the_run_will_do_while_it_is_not_revoked(tmp_path):
    file = KeyFile(tmp_path / KEY_FILE)
    made = new_key("phone", [Role.CHAT], now=1.0)
    file.add(made.key)
    config = run_config(tmp_path, host="0.0.0.0")
    assert open_keys(config).is_required
    file.revoke("phone", now=2.0)
    with pytest.raises(ConfigError, match="so a key is needed"):
        open_keys(config)


def test_a_simulated_user_needs_the_key_of_the_environment(tmp_path):
    KeyFile(tmp_path / KEY_FILE).add(new_key("phone", [Role.CHAT], now=1.0).key)
    config = run_config(tmp_path)
    config.user.enabled = True
    with pytest.raises(ConfigError, match="the simulated user has none: set CLAWJAX_API_KEY"):
        open_keys(config)


def test_no_key_is_in_a_configuration_that_is_kept_or_sent(tmp_path, monkeypatch):
    secret = "correct-horse-battery"
    monkeypatch.setenv("CLAWJAX_API_KEY", secret)
    made = new_key("phone", [Role.CHAT], now=1.0)
    KeyFile(tmp_path / KEY_FILE).add(made.key)
    config = run_config(tmp_path)
    kept = OmegaConf.to_yaml(OmegaConf.structured(config)) + encode_config(config) + repr(config)
    kept += repr(open_keys(config)) + connection_lines(config, has_key=True)
    for text in (secret, made.secret, made.key.digest):
        assert text not in kept
