"""One file per client, each with its `RECIPE`."""

from __future__ import annotations

import importlib
from pathlib import Path

from clients.recipe import Recipe

__all__ = ["all_recipes"]


def all_recipes() -> dict[str, Recipe]:
    """Every client there is a recipe for, by name, the quick ones first."""
    modules = sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py"))
    found = [importlib.import_module(f"clients.recipes.{name}").RECIPE for name in modules]
    return {recipe.name: recipe for recipe in sorted(found, key=lambda r: not r.is_quick)}
