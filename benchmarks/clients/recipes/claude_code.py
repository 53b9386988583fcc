"""Claude Code, by the Messages API; it names its sessions, and is told to compact one at last."""

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
    then=((*_ASK, "-c", "-p", "/compact"),),
    sides={"compaction": "CRITICAL: Respond with TEXT ONLY"},
    least_sides=1,
    tool=Tool("Bash", "command", others={"description": "Looks it up"}),
)
