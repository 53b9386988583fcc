"""OpenClaw with the settings printed when serving begins, which make it name its sessions."""

import json

from clawjax.runtime.console import openclaw_settings
from clients.recipe import Npm, Recipe, Tool

_SETTINGS = openclaw_settings(
    "@URL@", "any", model="@MODEL@", context_length=200_000, max_response_tokens=4096
)

RECIPE = Recipe(
    name="openclaw",
    install=Npm("openclaw", "2026.9.6"),
    files={".openclaw/openclaw.json": json.dumps(_SETTINGS, indent=1)},
    command=("openclaw", "agent", "--local", "--session-id", "s1", "--message", "@TEXT@"),
    tool=Tool("exec", "command"),
    timeout_s=300.0,
)
