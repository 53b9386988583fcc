"""The lines to paste work as they are."""

import json

import openai
import pytest

from clawjax.config import GatewayConfig, RunConfig, RunSection
from clawjax.runtime.console import connection_lines
from clawjax.runtime.job import _base_url

CONFIG = RunConfig(run=RunSection(dir="runs/x"), gateway=GatewayConfig(port=31234))


def python_line(lines: str) -> str:
    return next(line for line in lines.splitlines() if "OpenAI(" in line)


def provider(lines: str) -> dict:
    text = lines.partition("openclaw.json:\n")[2].partition("\n\n")[0]
    return json.loads(text)["models"]["providers"]["clawjax"]


def test_without_a_key_any_will_do():
    lines = connection_lines(CONFIG, has_key=False)
    assert 'api_key="any"' in python_line(lines)
    assert provider(lines)["apiKey"] == "any"


@pytest.mark.parametrize(
    ("host", "told"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")],
)
def test_an_address_is_written_as_urls_have_it(host, told):
    config = RunConfig(run=RunSection(dir="runs/x"), gateway=GatewayConfig(host=host, port=31234))
    url = f"http://{told}:31234/v1"
    assert f'base_url="{url}"' in python_line(connection_lines(config, has_key=True))
    assert _base_url(config) == url


def test_a_key_is_named_by_its_variable(monkeypatch):
    monkeypatch.setenv("CLAWJAX_API_KEY", "hunter2")
    lines = connection_lines(CONFIG, has_key=True)
    assert provider(lines)["apiKey"] == "${CLAWJAX_API_KEY}"
    assert "hunter2" not in lines
    found = {}
    exec(f"import os\n{python_line(lines).strip()}", {"OpenAI": openai.OpenAI}, found)
    assert (found["client"].api_key, str(found["client"].base_url)) == (
        "hunter2",
        "http://127.0.0.1:31234/v1/",
    )


def test_openclaw_is_told_to_name_its_sessions():
    (model,) = provider(connection_lines(CONFIG, has_key=False))["models"]
    assert model["compat"]["supportsPromptCacheKey"] is True
