"""smolagents: its answers are calls, and its history writes calls as text."""

from clients.recipe import ANSWERS, Pip, Recipe, Tool

RECIPE = Recipe(
    name="smolagents",
    install=Pip("smolagents", "1.26.0", "[openai]"),
    command=("python", "@PROGRAMS@/smolagents_agent.py", "@URL@", "@MODEL@"),
    tool=Tool("look_up", "text", "{}"),
    answers_by=ANSWERS,
)
