"""Addresses have no passwords in them, and none is shown or kept."""

import pytest

from clawjax.config import (
    AgentConfig,
    DeliveryConfig,
    LlmJudgeConfig,
    LogConfig,
    RunConfig,
    SglangConfig,
    SynthesisConfig,
)
from clawjax.config.secrets import find_secret
from clawjax.errors import ConfigError
from clawjax.runtime.provenance import config_yaml

DISK = DeliveryConfig(transport="disk")


@pytest.mark.parametrize(
    ("make", "variable"),
    [
        (lambda url: LlmJudgeConfig(base_url=url), "CLAWJAX_JUDGE_API_KEY"),
        (lambda url: AgentConfig(base_url=url), "CLAWJAX_API_KEY"),
        (lambda url: SynthesisConfig(base_url=url), "CLAWJAX_SYNTHESIS_API_KEY"),
        (lambda url: SglangConfig(urls=[url]), "CLAWJAX_ENGINE_API_KEY"),
        (lambda url: SglangConfig(router=url, delivery=DISK), "CLAWJAX_ENGINE_API_KEY"),
    ],
)
def test_services_are_addressed_without_passwords(make, variable):
    make("https://judge.example:8000/v1?x=a@b")
    whole = "http://me:hunter2@h/v1"  # made-up-secret
    for url in (whole, "http://hunter2@h", "me:hunter2@h:80/v1"):
        with pytest.raises(ConfigError, match=variable) as refused:
            make(url)
        assert "hunter2" not in str(refused.value)
    with pytest.raises(ConfigError, match="is no URL"):
        make("judge.example/v1")


def test_secrets_are_found_where_they_are_and_nowhere_else():
    kept = {
        "log": {"url": "${oc.env:CLAWJAX_LOG_URL}"},
        "a": ["postgresql://me@host:5432/db", "http://[::1]:30000/v1", "sqlite:////a:b@c/turns.db"],
        "b": "mail me@example.com: http://host:1/a@b",
        "c": [3, None, True],
    }
    assert find_secret(kept) is None
    for secret in ("mysql://me:a/b@h/db", "https://token@h", "[http://a:1,http://t@h]"):
        assert find_secret({**kept, "c": {"d": ["", secret]}}) == "c.d.1"


def test_what_is_kept_of_a_configuration_has_no_password():
    where = "postgresql://me:hunter2@host/db"  # made-up-secret
    url = f"{where}?sslpassword=hunter2&sslmode=require"
    kept = config_yaml(RunConfig(log=LogConfig(url=url)))
    assert "hunter2" not in kept
    assert "me:***@host/db" in kept
    assert "sslmode=require" in kept
