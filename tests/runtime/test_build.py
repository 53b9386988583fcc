"""Start-up checks: what cannot work says so before anything is started."""

import socket

import pytest

from clawjax.config import GatewayConfig
from clawjax.errors import ConfigError
from clawjax.runtime.build import api_key, bind


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
            bind(GatewayConfig(port=port))


def test_port_zero_takes_a_free_one():
    assert bind(GatewayConfig(port=0)) > 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_key(host, monkeypatch):
    monkeypatch.delenv("CLAWJAX_API_KEY", raising=False)
    assert api_key(GatewayConfig(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "example.org"])
def test_anything_else_needs_one(host, monkeypatch):
    monkeypatch.delenv("CLAWJAX_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="set CLAWJAX_API_KEY"):
        api_key(GatewayConfig(host=host))
    monkeypatch.setenv("CLAWJAX_API_KEY", "k")
    assert api_key(GatewayConfig(host=host)) == "k"
