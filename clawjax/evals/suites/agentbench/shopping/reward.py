"""WebShop's reward of a purchase.

    r = r_type * (attributes found + options chosen + price kept) / (|attributes| + |options| + 1)

Yao et al. 2022, arXiv:2207.01206, section 3.1, and `web_agent_site/engine/goal.py`. The published
reward tells products apart by the nouns that spaCy's `en_core_web_lg` finds, and options by the
colours of `engine/normalize.py`; both are handed in, since neither is ours to ship. Pure.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.evals.suites.agentbench.shopping.similarity import token_set_ratio

__all__ = ["Reward", "Shelf", "read_action", "read_colors", "reward"]

_SIMILAR = 85
_SEPARATOR = "\u203a"
"""Of a product's categories: a single angle quotation mark."""
_ACTION = re.compile(r"[Aa]ction: *\n* *((search|click)\[.+?])")

Nouns = Callable[[str], Sequence[str]]
"""Lower-case nouns and names of a text: as published, its `NOUN`, `PNOUN` and `PROPN`."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """What the reward needs to know besides product and goal."""

    nouns: Nouns
    colors: Sequence[str] = field(default=())
    """In this order; the first that an option contains stands for it."""


@dataclass(frozen=True, slots=True)
class Reward:
    """The reward and its parts."""

    value: float
    kind: float
    attributes: int
    options: int
    price: bool


def reward(
    product: Mapping[str, Any],
    goal: Mapping[str, Any],
    *,
    price: float,
    options: Mapping[str, str],
    shelf: Shelf,
) -> Reward:
    """What a purchase is worth, in [0, 1].

    Args:
        product: with `query`, `product_category`, `name`, `Attributes`, `Title`, `BulletPoints`,
            `Description`.
        goal: with `query`, `product_category`, `name`, `attributes`, `goal_options` (a list),
            `price_upper`.
        price: paid.
        options: chosen, by the name of the choice.
        shelf: tagger and colours.
    """
    kind = _kind(product, goal, shelf.nouns)
    found = sum(_has_attribute(product, each) for each in goal["attributes"])
    wanted = [_colored(each, shelf.colors) for each in goal["goal_options"]]
    given = [_colored(each, shelf.colors) for each in options.values()]
    chosen = sum(any(token_set_ratio(has, each) > _SIMILAR for has in given) for each in wanted)
    is_cheap = price <= goal["price_upper"]
    parts = len(goal["attributes"]) + len(wanted) + 1
    return Reward(kind * (found + chosen + is_cheap) / parts, kind, found, chosen, is_cheap)


def read_action(text: str) -> str | None:
    """`search[...]` or `click[...]` of a reply; None: the reply has no valid form."""
    found = _ACTION.search(text)
    return found.group(1) if found else None


def read_colors(normalize: Path) -> tuple[str, ...]:
    """The list `COLOR_SET` of WebShop's `engine/normalize.py`; the file is read, never run.

    Raises:
        ConfigError: it has none.
    """
    for node in ast.parse(normalize.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COLOR_SET":
            return tuple(ast.literal_eval(node.value))
    msg = f"{normalize} has no COLOR_SET: name web_agent_site/engine/normalize.py of WebShop"
    raise ConfigError(msg)


def _kind(product: Mapping[str, Any], goal: Mapping[str, Any], nouns: Nouns) -> float:
    wanted = nouns(goal["name"])
    common = set(nouns(product["name"])) & set(wanted)
    title = len(common) / len(wanted) if wanted else 0.2
    if title == 0.0:
        return 0.0
    if title < 0.1:
        return 0.1
    shared = _categories(product) & _categories(goal)
    is_match = product["query"] == goal["query"] or len(shared) >= 2 or title > 0.2
    return 1.0 if is_match else 0.5


def _categories(item: Mapping[str, Any]) -> set[str]:
    return {each.strip() for each in item["product_category"].split(_SEPARATOR)}


def _has_attribute(product: Mapping[str, Any], attribute: str) -> bool:
    if any(token_set_ratio(each, attribute) > _SIMILAR for each in product["Attributes"]):
        return True
    texts = (product["Title"], " ".join(product["BulletPoints"]), product["Description"])
    return any(attribute in text.lower() for text in texts)


def _colored(option: str, colors: Sequence[str]) -> str:
    return next((color for color in colors if color in option), option)
