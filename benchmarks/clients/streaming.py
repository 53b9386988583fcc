"""Clients that stream, for replies that break off: agents as they are, libraries by other programs.

Agents that people talk to ask again by themselves. Libraries leave it to their callers, so their
programs do it.
"""

from __future__ import annotations

from dataclasses import replace

from clients.recipe import Recipe
from clients.recipes import all_recipes

__all__ = ["streaming_recipes"]

_LIBRARIES = {
    "openai-python": ("openai_python", ("heron", "osprey")),
    "anthropic-python": ("anthropic_python", ("heron",)),
    "openai-agents": ("openai_agents", ("heron", "osprey")),
    "pydantic-ai": ("pydantic_ai_agent", ("heron",)),
    "litellm": ("litellm_chat", ("heron",)),
}
_AGENTS = ("pi", "codex")


def streaming_recipes() -> dict[str, Recipe]:
    """By name, the quick ones first."""
    recipes = all_recipes()
    libraries = {
        name: replace(
            recipes[name],
            command=(
                "python",
                f"@PROGRAMS@/streaming/{program}.py",
                *recipes[name].command[2:],
            ),
            conversations=conversations,
        )
        for name, (program, conversations) in _LIBRARIES.items()
    }
    return libraries | {name: recipes[name] for name in _AGENTS}
