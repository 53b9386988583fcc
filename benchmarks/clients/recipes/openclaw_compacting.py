"""OpenClaw with so short a context that it minds its memory and compacts its history."""

import json
from dataclasses import replace

from clawjax.runtime.console import openclaw_settings
from clients.recipes import openclaw

_SETTINGS = openclaw_settings(
    "@URL@", "any", model="@MODEL@", context_length=65_536, max_response_tokens=4096
)

RECIPE = replace(
    openclaw.RECIPE,
    name="openclaw-compacting",
    files={".openclaw/openclaw.json": json.dumps(_SETTINGS, indent=1)},
    sides={
        "memory flush": "Pre-compaction memory flush",
        "compaction": "You are a context summarization assistant",
    },
    least_sides=1,
)
