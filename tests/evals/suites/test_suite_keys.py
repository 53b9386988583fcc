"""Keys of models that play users and judge: sent to whom they are for, shown to nobody."""

import json

import pytest
from scripted_endpoint import ScriptedEndpoint

from clawjax.errors import ConfigError
from clawjax.evals.__main__ import main
from clawjax.evals.harness.process import EnvironmentPool
from clawjax.evals.suites.tau.suite import build
from clawjax.evals.suites.tau.users import USER_KEY
from clawjax.evals.suites.webarena.judge import JUDGE_KEY, EndpointJudge, read_fuzzy

KEY = "sk-plays-users"  # made-up-secret


async def test_the_model_that_plays_users_gets_its_key(monkeypatch):
    monkeypatch.setenv(USER_KEY, f"{KEY}\r\n")
    endpoint = ScriptedEndpoint(lambda messages: "Where is my book?")
    async with endpoint.serving():
        suite = build({"user_url": endpoint.base_url})
        async with EnvironmentPool.open(suite.launch, 1) as pool, pool.environment() as user:
            assert await user.reset(suite.tasks[0].setup(0)) == "Where is my book?"
    assert [each["authorization"] for each in endpoint.headers] == [f"Bearer {KEY}"]
    assert KEY not in repr(suite)
    assert KEY not in json.dumps(dict(suite.launch.options))


@pytest.mark.parametrize(
    "options", [{}, {"user_url": "http://127.0.0.1:9/v1", "silent_users": True}]
)
def test_who_asks_no_model_gets_no_key(monkeypatch, options):
    monkeypatch.setenv(USER_KEY, KEY)
    assert not build(options).launch.variables


def test_a_key_that_no_header_can_carry_is_refused_unseen(monkeypatch):
    monkeypatch.setenv(USER_KEY, f"{KEY} and more")
    with pytest.raises(ConfigError, match=USER_KEY) as refused:
        build({"user_url": "http://127.0.0.1:9/v1"})
    assert KEY not in str(refused.value)


async def test_the_judge_gets_its_key_and_shows_it_to_nobody():
    endpoint = ScriptedEndpoint(lambda messages: "correct")
    async with endpoint.serving():
        for key in (KEY, None):
            judge = EndpointJudge(endpoint.base_url, "m", key)
            assert read_fuzzy(await judge.ask("Is it?"))
            assert KEY not in repr(judge)
    assert [each.get("authorization") for each in endpoint.headers] == [f"Bearer {KEY}", None]


def test_a_record_does_not_decide_who_is_sent_a_key(monkeypatch, tmp_path, capsys):
    url = "http://127.0.0.1:9/v1"
    settings = {"suite": {"judge_url": url}}
    (tmp_path / "manifest.json").write_text(json.dumps({"suite": "gaia", "settings": settings}))
    monkeypatch.setenv(JUDGE_KEY, KEY)
    assert main(["rescore", str(tmp_path)]) == 2
    refused = capsys.readouterr().err
    assert f"--judge-url {url}" in refused
    assert KEY not in refused
    assert main(["rescore", str(tmp_path), "--judge-url", url]) == 2
    assert "suite.options.judge_url is unknown" in capsys.readouterr().err, "it went on"
    monkeypatch.delenv(JUDGE_KEY)
    assert main(["rescore", str(tmp_path)]) == 2
    assert "suite.options.judge_url is unknown" in capsys.readouterr().err, "no key, no question"
