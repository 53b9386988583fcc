"""nanobot, at last told to begin anew, which it notes down by itself.

The id that it sends is its process's, not a session's.
"""

from clients.recipe import Pip, Recipe, Tool

RECIPE = Recipe(
    name="nanobot",
    install=Pip("nanobot-ai", "0.3.5"),
    files={
        ".nanobot/config.json": """\
{"agents": {"defaults": {"workspace": "@WORK@", "model": "@MODEL@", "provider": "custom"}},
 "providers": {"custom": {"apiKey": "any", "apiBase": "@URL@"}}}
"""
    },
    command=("nanobot", "agent", "-s", "cli:heron", "-m", "@TEXT@"),
    then=(("nanobot", "agent", "-s", "cli:heron", "-m", "/new"),),
    tool=Tool("exec", "command"),
    sides={"checkpoint": "Create a compact replacement checkpoint"},
    least_sides=1,
)
