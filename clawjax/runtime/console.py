"""What a person is told at start: how to connect, and what runs."""

from __future__ import annotations

import json

from clawjax.config import RunConfig

__all__ = ["connection_lines"]


def connection_lines(config: RunConfig, *, has_key: bool) -> str:
    """Lines to paste into an OpenAI client and into `openclaw.json`.

    Args:
        config: of the run.
        has_key: whether a key is required; it is named by its variable, never shown.
    """
    host = "127.0.0.1" if config.gateway.host in ("0.0.0.0", "::") else config.gateway.host
    base_url = f"http://{host}:{config.gateway.port}/v1"
    variable = config.gateway.api_key_env
    python_key = f'os.environ["{variable}"]' if has_key else '"none"'
    model = {
        "id": config.model.name,
        "name": config.model.name,
        "reasoning": False,
        "input": ["text"],
        "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
        "contextWindow": config.model.context_length,
        "maxTokens": config.engine.max_response_tokens,
        "compat": {"supportsPromptCacheKey": True},
    }
    provider = {
        "baseUrl": base_url,
        "apiKey": f"${{{variable}}}" if has_key else "none",
        "api": "openai-completions",
        "models": [model],
    }
    openclaw = {
        "agents": {"defaults": {"model": {"primary": f"clawjax/{config.model.name}"}}},
        "models": {"mode": "merge", "providers": {"clawjax": provider}},
    }
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
