"""OpenClaw, told to name its sessions."""

from clients.recipe import Npm, Recipe, Tool

RECIPE = Recipe(
    name="openclaw",
    install=Npm("openclaw", "2026.9.6"),
    files={
        ".openclaw/openclaw.json": """\
{"agents": {"defaults": {
   "workspace": "@WORK@", "model": {"primary": "clawjax/@MODEL@"}, "heartbeat": {"every": "0m"}}},
 "models": {"mode": "merge", "providers": {"clawjax": {
   "baseUrl": "@URL@", "apiKey": "any", "api": "openai-completions",
   "models": [{"id": "@MODEL@", "name": "clawjax", "reasoning": false, "input": ["text"],
               "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
               "contextWindow": 200000, "maxTokens": 4096,
               "compat": {"supportsPromptCacheKey": true}}]}}}}
"""
    },
    command=("openclaw", "agent", "--local", "--session-id", "s1", "--message", "@TEXT@"),
    tool=Tool("exec", "command"),
    timeout_s=300.0,
)
