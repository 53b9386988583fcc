"""A page as text: its accessibility tree, one line per node, `[id] role 'name' property: value`.

Reproduces WebArena's `accessibility_tree` observation (nodes whose share in the viewport is below
its threshold are left out), with one difference: positions are read from one snapshot of the
layout, not by two calls per node. Pure; `Page` is what the browser sends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Box", "Node", "PageText", "boxes_of", "page_text"]

_IN_VIEWPORT = 0.6
_IGNORED_PROPERTIES = frozenset(
    ("focusable", "editable", "readonly", "level", "settable", "multiline", "invalid")
) | {"url"}
"""The published ones, and what Chromium did not list then."""
_EMPTY_ROLES = frozenset(
    {"generic", "img", "list", "strong", "paragraph", "banner", "navigation", "Section"}
    | {"LabelText", "Legend", "listitem"}
)
_PIECES = frozenset(("InlineTextBox", "LineBreak"))
"""Newer Chromium lists the lines of a text as nodes of their own."""
_STATIC = re.compile(r"\[\d+\] StaticText (.+)", re.DOTALL)


class Box(NamedTuple):
    """Where something is, in CSS pixels from the viewport's upper left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        """Where to click."""
        return self.x + self.width / 2, self.y + self.height / 2


class Node(NamedTuple):
    """A line of the text."""

    role: str
    name: str
    box: Box
    backend_id: int
    """The browser's own number of the element."""


class PageText(NamedTuple):
    """What the agent reads, and what its numbers stand for."""

    text: str
    nodes: dict[str, Node]

    def find(self, role: str, name: str, index: int = 0) -> Node | None:
        """The node with this role and name; of several, the one with this index."""
        found = [node for node in self.nodes.values() if (node.role, node.name) == (role, name)]
        return found[index] if index < len(found) else None

    def words(self, number: str) -> str | None:
        """Role, name and index of a node by its number, as `find` takes them; None: no such."""
        if number not in self.nodes:
            return None
        role, name = self.nodes[number][:2]
        alike = [each for each, node in self.nodes.items() if node[:2] == (role, name)]
        return f"{role} {name!r} {alike.index(number)}"


def boxes_of(snapshot: Mapping[str, Any], scroll: tuple[float, float]) -> dict[int, Box]:
    """Boxes by backend node id, from `DOMSnapshot.captureSnapshot`.

    Args:
        snapshot: its answer.
        scroll: how far the page is scrolled, pixels.
    """
    document = snapshot["documents"][0]
    ids, layout = document["nodes"]["backendNodeId"], document["layout"]
    return {
        ids[index]: Box(x - scroll[0], y - scroll[1], width, height)
        for index, (x, y, width, height) in zip(layout["nodeIndex"], layout["bounds"], strict=True)
    }


def page_text(
    nodes: Sequence[Mapping[str, Any]], boxes: Mapping[int, Box], viewport: tuple[int, int]
) -> PageText:
    """The observation.

    Args:
        nodes: `nodes` of `Accessibility.getFullAXTree`; the first is the root.
        boxes: as `boxes_of` gives them.
        viewport: width and height, pixels.
    """
    by_id: dict[str, Mapping[str, Any]] = {}
    for node in nodes:
        by_id.setdefault(node["nodeId"], node)
    found: dict[str, Node] = {}
    lines: list[str] = []
    stack = [(nodes[0]["nodeId"], 0)] if nodes else []
    while stack:
        node_id, depth = stack.pop()
        node = by_id[node_id]
        box = _visible_box(node, boxes, viewport)
        line = None if box is None else _line(node)
        if box is not None and line is not None:
            found[node_id] = Node(
                _role(node), node["name"]["value"], box, node.get("backendDOMNodeId", -1)
            )
            lines.append("\t" * depth + line)
            depth += 1
        children = [child for child in node.get("childIds", ()) if child in by_id]
        stack += [(child, depth) for child in reversed(children)]
    return PageText("\n".join(_without_repetitions(lines)), found)


def _visible_box(
    node: Mapping[str, Any], boxes: Mapping[int, Box], viewport: tuple[int, int]
) -> Box | None:
    if _role(node) == "RootWebArea":
        return Box(0.0, 0.0, 10.0, 10.0)
    box = boxes.get(node.get("backendDOMNodeId", -1))
    if box is None or box.width == 0 or box.height == 0:
        return None
    width = max(0.0, min(box.x + box.width, viewport[0]) - max(box.x, 0.0))
    height = max(0.0, min(box.y + box.height, viewport[1]) - max(box.y, 0.0))
    # The published formula lacks the parentheses of a share; scores depend on it.
    return box if width * height / box.width * box.height >= _IN_VIEWPORT else None


def _line(node: Mapping[str, Any]) -> str | None:
    """None for nodes that say nothing: their children take their place."""
    role, name = _role(node), node.get("name", {}).get("value")
    if not role or name is None or role in _PIECES:
        return None
    properties = [
        f"{each['name']}: {each['value']['value']}"
        for each in node.get("properties", ())
        if each["name"] not in _IGNORED_PROPERTIES and "value" in each["value"]
    ]
    if not name.strip() and ((not properties and role in _EMPTY_ROLES) or role == "listitem"):
        return None
    return " ".join([f"[{node['nodeId']}] {role} {name!r}", *properties])


def _role(node: Mapping[str, Any]) -> str:
    return node.get("role", {}).get("value", "")


def _without_repetitions(lines: Sequence[str]) -> list[str]:
    """Without text that one of the three lines before contains already."""
    kept: list[str] = []
    for line in lines:
        static = _STATIC.search(line) if "statictext" in line.lower() else None
        if "statictext" in line.lower():
            text = static.group(1)[1:-1] if static else ""
            if not text or any(text in before for before in kept[-3:]):
                continue
        kept.append(line)
    return kept
