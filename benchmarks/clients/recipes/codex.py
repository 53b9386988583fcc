"""codex, by the Responses API; it names its sessions."""

from clients.recipe import Npm, Recipe, Tool

_ASK = ("codex", "exec")
_FREELY = ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")

RECIPE = Recipe(
    name="codex",
    install=Npm("@openai/codex", "0.169.0"),
    files={
        ".codex/config.toml": """\
model = "@MODEL@"
model_provider = "clawjax"

[model_providers.clawjax]
name = "clawjax"
base_url = "@URL@"
env_key = "CLAWJAX_CLIENT_KEY"
wire_api = "responses"
"""
    },
    environment={"CLAWJAX_CLIENT_KEY": "any"},
    command=(*_ASK, *_FREELY, "@TEXT@"),
    goes_on=(*_ASK, "resume", *_FREELY, "--last", "@TEXT@"),
    tool=Tool("exec_command", "cmd"),
)
