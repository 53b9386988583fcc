"""Anthropic's SDK for Python, at once and streamed."""

from clients.recipe import Here, Recipe, Tool

RECIPE = Recipe(
    name="anthropic-python",
    install=Here("anthropic"),
    command=("python", "@PROGRAMS@/anthropic_python.py", "@BASE@", "@MODEL@"),
    conversations=("heron", "osprey"),
    tool=Tool("look_up", "text", "{}"),
    is_quick=True,
)
