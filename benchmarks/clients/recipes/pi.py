"""pi, told to name its sessions."""

from clients.recipe import Npm, Recipe, Tool

_ASK = ("pi", "--model", "clawjax/@MODEL@")

RECIPE = Recipe(
    name="pi",
    install=Npm("@earendil-works/pi-coding-agent", "0.74.2"),
    files={
        ".pi/agent/models.json": """\
{"providers": {"clawjax": {
  "baseUrl": "@URL@", "api": "openai-completions", "apiKey": "any",
  "models": [{"id": "@MODEL@", "contextWindow": 200000, "maxTokens": 4096,
              "compat": {"sendSessionAffinityHeaders": true}}]}}}
"""
    },
    environment={"PI_OFFLINE": "1", "PI_TELEMETRY": "0"},
    command=(*_ASK, "-p", "@TEXT@"),
    goes_on=(*_ASK, "-c", "-p", "@TEXT@"),
    tool=Tool("bash", "command"),
)
