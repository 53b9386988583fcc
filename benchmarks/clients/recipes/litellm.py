"""LiteLLM's Python client."""

from clients.recipe import Pip, Recipe, Tool

RECIPE = Recipe(
    name="litellm",
    install=Pip("litellm", "1.83.0"),
    environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    command=("python", "@PROGRAMS@/litellm_chat.py", "@URL@", "@MODEL@"),
    tool=Tool("look_up", "text", "{}"),
)
