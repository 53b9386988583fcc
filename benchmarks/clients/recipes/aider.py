"""aider: no tools; it writes its history anew for each request."""

from clients.recipe import Pip, Recipe

RECIPE = Recipe(
    name="aider",
    install=Pip("aider-chat", "0.86.2"),
    environment={"OPENAI_API_BASE": "@URL@", "OPENAI_API_KEY": "any"},
    command=(
        *("aider", "--model", "openai/@MODEL@", "--no-show-model-warnings", "--yes-always"),
        *("--no-pretty", "--analytics-disable", "--no-check-update", "--no-show-release-notes"),
        *("--no-git", "--no-detect-urls"),
    ),
    is_typed=True,
)
