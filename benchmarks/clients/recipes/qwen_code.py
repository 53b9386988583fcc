"""Qwen Code; where it minds its memory, that is its own business."""

from clients.recipe import Npm, Recipe, Tool

_ASK = ("qwen", "--auth-type", "openai", "--yolo")

RECIPE = Recipe(
    name="qwen-code",
    install=Npm("@qwen-code/qwen-code", "0.24.4"),
    environment={
        "OPENAI_BASE_URL": "@URL@",
        "OPENAI_API_KEY": "any",
        "OPENAI_MODEL": "@MODEL@",
    },
    command=(*_ASK, "-p", "@TEXT@"),
    goes_on=(*_ASK, "--continue", "-p", "@TEXT@"),
    tool=Tool("run_shell_command", "command", others={"is_background": False}),
    sides={"memory": "You are now acting as the managed memory extraction subagent"},
)
