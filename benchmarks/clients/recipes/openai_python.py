"""openai-python: chat at once, chat streamed, and the Responses API by `previous_response_id`."""

from clients.recipe import Here, Recipe, Tool

RECIPE = Recipe(
    name="openai-python",
    install=Here("openai"),
    command=("python", "@PROGRAMS@/openai_python.py", "@URL@", "@MODEL@"),
    conversations=("heron", "osprey", "plover"),
    tool=Tool("look_up", "text", "{}"),
    is_quick=True,
)
