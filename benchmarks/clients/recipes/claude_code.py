"""Claude Code, by the Messages API; it names its sessions."""

from clients.recipe import Npm, Recipe, Tool

_ASK = ("claude", "--dangerously-skip-permissions")

RECIPE = Recipe(
    name="claude-code",
    install=Npm("@anthropic-ai/claude-code", "2.1.330"),
    environment={
        "ANTHROPIC_BASE_URL": "@BASE@",
        "ANTHROPIC_AUTH_TOKEN": "any",
        "ANTHROPIC_MODEL": "@MODEL@",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "@MODEL@",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",
    },
    command=(*_ASK, "-p", "@TEXT@"),
    goes_on=(*_ASK, "-c", "-p", "@TEXT@"),
    tool=Tool("Bash", "command", others={"description": "Looks it up"}),
)
