"""OpenClaw with so short a context that it minds its memory and compacts its history."""

import json

from clawjax.runtime.console import openclaw_settings
from clients.recipe import Npm, Recipe, Tool

_SETTINGS = openclaw_settings(
    "@URL@", "any", model="@MODEL@", context_length=65_536, max_response_tokens=4096
)

RECIPE = Recipe(
    name="openclaw-compacting",
    install=Npm("openclaw", "2026.9.6"),
    files={".openclaw/openclaw.json": json.dumps(_SETTINGS, indent=1)},
    command=("openclaw", "agent", "--local", "--session-id", "s1", "--message", "@TEXT@"),
    tool=Tool("exec", "command"),
    sides={
        "memory flush": "Pre-compaction memory flush",
        "compaction": "You are a context summarization assistant",
    },
    least_sides=1,
    timeout_s=300.0,
)
