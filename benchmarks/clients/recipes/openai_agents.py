"""openai-agents, by the Responses API, which is its default, and by chat."""

from clients.recipe import Pip, Recipe, Tool

RECIPE = Recipe(
    name="openai-agents",
    install=Pip("openai-agents", "0.24.0"),
    command=("python", "@PROGRAMS@/openai_agents.py", "@URL@", "@MODEL@"),
    conversations=("heron", "osprey"),
    tool=Tool("look_up", "text", "{}"),
    is_quick=True,
)
