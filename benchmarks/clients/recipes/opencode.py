"""opencode: names its sessions, and asks for a title before the first reply."""

from clients.recipe import Npm, Recipe, Tool

RECIPE = Recipe(
    name="opencode",
    install=Npm("opencode-ai", "1.18.33"),
    files={
        ".config/opencode/opencode.json": """\
{"$schema": "https://opencode.ai/config.json",
 "provider": {"clawjax": {
   "npm": "@ai-sdk/openai-compatible",
   "options": {"baseURL": "@URL@", "apiKey": "any"},
   "models": {"@MODEL@": {"limit": {"context": 200000, "output": 4096}}}}},
 "model": "clawjax/@MODEL@", "small_model": "clawjax/@MODEL@",
 "permission": "allow", "autoupdate": false, "share": "disabled"}
"""
    },
    environment={"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"},
    command=("opencode", "run", "@TEXT@"),
    goes_on=("opencode", "run", "--continue", "@TEXT@"),
    tool=Tool("bash", "command", others={"description": "Looks it up"}),
    sides={"title": "You are a title generator"},
    least_sides=1,
)
