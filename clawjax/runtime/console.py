"""What a person is told at start: how to connect, and what runs."""

from __future__ import annotations

import json

from clawjax.config import RunConfig
from clawjax.config.hosts import url_of

__all__ = ["connection_lines", "openclaw_settings"]


def openclaw_settings(
    base_url: str, api_key: str, *, model: str, context_length: int, max_response_tokens: int
) -> dict[str, object]:
    """What `openclaw.json` has to have; `supportsPromptCacheKey` makes it name its sessions."""
    served = {
        "id": model,
        "name": model,
        "reasoning": False,
        "input": ["text"],
        "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
        "contextWindow": context_length,
        "maxTokens": max_response_tokens,
        "compat": {"supportsPromptCacheKey": True},
    }
    provider = {
        "baseUrl": base_url,
        "apiKey": api_key,
        "api": "openai-completions",
        "models": [served],
    }
    return {
        "agents": {"defaults": {"model": {"primary": f"clawjax/{model}"}}},
        "models": {"mode": "merge", "providers": {"clawjax": provider}},
    }


def connection_lines(config: RunConfig, *, has_key: bool) -> str:
    """Lines to paste into an OpenAI client and into `openclaw.json`.

    Args:
        config: of the run.
        has_key: whether a key is required; it is named by its variable, never shown.
    """
    base_url = f"{url_of(config.gateway.host, config.gateway.port)}/v1"
    variable = config.gateway.api_key_env
    python_key = f'os.environ["{variable}"]' if has_key else '"any"'
    openclaw = openclaw_settings(
        base_url,
        f"${{{variable}}}" if has_key else "any",
        model=config.model.name,
        context_length=config.model.context_length,
        max_response_tokens=config.engine.max_response_tokens,
    )
    return "\n".join(
        (
            f"Serving {config.model.name} on {base_url}",
            f"(the key is the value of {variable}, or one of `clawjax keys list {config.run.dir}`)"
            if has_key
            else "(any key will do)",
            "",
            "OpenAI client (Python):",
            f'  client = OpenAI(base_url="{base_url}", api_key={python_key})',
            f'  client.chat.completions.create(model="{config.model.name}", '
            'messages=[{"role": "user", "content": "Hello!"}])',
            "",
            "openclaw.json:",
            *(f"  {line}" for line in json.dumps(openclaw, indent=1).splitlines()),
            "",
            f"Say what you think of a reply: POST {base_url}/feedback "
            '{"response_id": "...", "thumbs": "up"}',
            f"Everything is kept in {config.run.dir}; Ctrl-C stops, the same command resumes.",
        )
    )
