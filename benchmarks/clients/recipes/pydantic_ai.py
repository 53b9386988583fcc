"""pydantic-ai."""

from clients.recipe import Pip, Recipe, Tool

RECIPE = Recipe(
    name="pydantic-ai",
    install=Pip("pydantic-ai-slim", "2.68.0", "[openai]"),
    command=("python", "@PROGRAMS@/pydantic_ai_agent.py", "@URL@", "@MODEL@"),
    tool=Tool("look_up", "text", "{}"),
    is_quick=True,
)
