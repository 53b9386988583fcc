"""Scripted solutions: rules from a goal and a page to actions. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from clawjax.evals.harness.tasks import Action

__all__ = ["RULES", "Rule"]

Rule = Callable[[str, str], Sequence[Action]]
"""From the goal and the page's text to actions."""


def click(role: str, name: str, index: int = 0) -> Action:
    """Click on the element with this role and name."""
    return Action("click", {"element": f"{role} {name!r} {index}"})


def type_into(text: str, index: int = 0, name: str = "") -> Action:
    """Type into a text field, without Enter."""
    return Action("type", {"element": f"textbox {name!r} {index}", "text": text, "enter": False})


def quoted(goal: str) -> list[str]:
    """What stands in quotes in a goal."""
    return re.findall(r'"([^"]*)"', goal)


def named(page: str, role: str) -> list[str]:
    """Names of all elements of a role, in order."""
    return re.findall(rf"\[\d+\] {role} '([^']*)'", page)


_FIRST_BUTTON = (Action("press", {"keys": "Tab"}), Action("press", {"keys": "Enter"}))
"""By the keyboard: the second button may lie over the first. After it, the first is the next."""
_WAIT = Action("press", {"keys": "Shift"})
"""Does nothing but take the time that an action takes."""


def _boxes(goal: str, page: str) -> list[Action]:
    """Select the boxes that the goal lists, then submit."""
    listed = re.sub(r"^Select | and click Submit\.?$", "", goal)
    wanted = [] if listed == "nothing" else listed.split(", ")
    return [*(_label(page, "checkbox", name) for name in wanted), click("button", "Submit")]


def _label(page: str, role: str, name: str) -> Action:
    """The box of a label; a box may be named by its label or by nothing."""
    names = named(page, role)
    if name in names:
        return click(role, name)
    return Action("click", {"element": f"StaticText {name!r}"})


def _option(goal: str, page: str) -> list[Action]:
    wanted = re.sub(r"^Select | and click Submit\.?$", "", goal)
    return [_label(page, "radio", wanted), click("button", "Submit")]


def _login(goal: str, page: str) -> list[Action]:
    user, password = quoted(goal)
    return [type_into(user), type_into(password, 1), click("button", "Login")]


def _choose(goal: str, page: str) -> list[Action]:
    match = re.match(r"Select (.*) from the list and click Submit\.", goal)
    assert match is not None
    box = Action("select", {"element": "combobox ''", "option": match.group(1)})
    return [box, click("button", "Submit")]


def _sum(goal: str, page: str) -> list[Action]:
    text = "".join(re.findall(r"StaticText '([^']*)'", page))
    match = re.search(r"(\d+)\s*([+\-x*])\s*(\d+)", text)
    assert match is not None, text
    first, sign, second = int(match.group(1)), match.group(2), int(match.group(3))
    found = {"+": first + second, "-": first - second}.get(sign, first * second)
    return [type_into(str(found)), click("button", "Submit")]


def _dialog(goal: str, page: str) -> list[Action]:
    name = (quoted(goal) or ["Close"])[0]
    return [click("button", "Close" if name == "x" else name)]


def _link(goal: str, page: str) -> list[Action]:
    name = quoted(goal)[0]
    if name in named(page, "link"):
        return [click("link", name)]
    return [Action("click", {"element": f"StaticText {name!r}"})]


def _ordinal(goal: str, page: str) -> list[Action]:
    match = re.search(r"(\d+)", goal)
    assert match is not None
    return [Action("click", {"element": f"textbox '' {int(match.group(1)) - 1}"})]


_LINE = re.compile(r"\[\d+\] (\w+) '([^']*)'")


def nodes(page: str) -> list[tuple[str, str]]:
    """Role and name of all elements, in order."""
    return _LINE.findall(page)


def _movies(goal: str, page: str) -> list[Action]:
    """A form whose labels come in the order of its fields, before or after each; then its end."""
    match = re.match(r"Search for (.*) movies directed by (.*) from year (\d+)\.", goal)
    assert match is not None
    genre, director, year = match.groups()
    values = {"genre": genre, "director": director, "year": year, "date": year}
    labels = [name.lower() for role, name in nodes(page) if role in ("StaticText", "rowheader")]
    wanted = [values[key] for label in labels for key in values if key in re.findall(r"\w+", label)]
    assert len(wanted) == len(named(page, "textbox")), page
    role, name = nodes(page)[-1]
    end = Action("click", {"element": f"{role} {name!r} 0"})
    return [*(type_into(value, index) for index, value in enumerate(wanted)), end]


def _cells(page: str) -> dict[str, str]:
    """A table of two columns."""
    cells = named(page, "cell")
    return dict(zip(cells[::2], cells[1::2], strict=True))


def _read_value(goal: str, page: str) -> list[Action]:
    match = re.match(r"Enter the value of (.*) into the text field", goal)
    assert match is not None
    return [type_into(_cells(page)[match.group(1)]), click("button", "Submit")]


def _read_values(goal: str, page: str) -> list[Action]:
    cells = _cells(page)
    labels = [name.removesuffix(":") for name in named(page, "StaticText") if name[-1:] == ":"]
    typed = [type_into(cells[label], index) for index, label in enumerate(labels)]
    return [*typed, click("button", "Submit")]


def _word(goal: str, page: str) -> list[Action]:
    match = re.search(r"(\d+)\w\w word", goal)
    assert match is not None
    words = " ".join(named(page, "StaticText")).split()
    wanted = re.sub(r"[^a-zA-Z]", "", words[int(match.group(1)) - 1])
    return [type_into(wanted), click("button", "Submit")]


def _copy(goal: str, page: str) -> list[Action]:
    """By the clipboard: the tree does not show what stands in a field."""
    match = re.search(r"from the (\d)", goal)
    assert match is not None
    source, target = int(match.group(1)) - 1, len(named(page, "textbox")) - 1
    return [
        click("textbox", "", source),
        *(Action("press", {"keys": keys}) for keys in ("Control+a", "Control+c")),
        click("textbox", "", target),
        Action("press", {"keys": "Control+v"}),
        click("button", "Submit"),
    ]


def _unknown(goal: str, page: str) -> list[Action]:
    text = " ".join(named(page, "StaticText"))
    match = re.search(r"(x|\d+) ([+-]) (x|\d+) = (\d+)", text)
    assert match is not None, text
    first, sign, second, total = match.groups()
    if first == "x":
        found = int(total) - int(second) if sign == "+" else int(total) + int(second)
    else:
        found = int(total) - int(first) if sign == "+" else int(first) - int(total)
    return [type_into(str(found)), click("button", "Submit")]


def _height(goal: str, page: str) -> list[Action]:
    match = re.match(r"Choose (.*) from the dropdown", goal)
    assert match is not None
    box = Action("select", {"element": "combobox ''", "option": match.group(1)})
    return [box, click("button", quoted(goal)[0])]


def _day(goal: str, page: str) -> list[Action]:
    """The calendar takes a moment to open."""
    match = re.match(r"Select \d+/(\d+)/\d+", goal)
    assert match is not None
    wait = [_WAIT] * 4
    return [
        click("textbox", ""),
        *wait,
        click("link", str(int(match.group(1)))),
        click("button", "Submit"),
    ]


def _unfold(goal: str, page: str) -> list[Action]:
    section = next(name for name in named(page, "tab") if name.startswith("Section"))
    return [click("tab", section), *[_WAIT] * 6, click("button", "Submit")]


def _time(goal: str, page: str) -> list[Action]:
    match = re.match(r"Enter (\d+):(\d+) ([AP])M", goal)
    assert match is not None
    hour, minute, half = match.groups()
    keys = ["Tab", *hour.zfill(2), *minute, half.lower()]
    return [*(Action("press", {"keys": key}) for key in keys), click("button", "Submit")]


def _search(goal: str, page: str) -> list[Action]:
    """Three results are on each of the pages that a search gives."""
    name = quoted(goal)[0]
    match = re.search(r"click the (\d+)\w\w search result", goal)
    assert match is not None, goal
    number = (int(match.group(1)) - 1) // 3 + 1
    turned = [click("link", str(number))] if number > 1 else []
    return [type_into(name), click("button", "Search"), *turned, click("link", name)]


RULES: dict[str, Rule] = {
    "click-button": lambda goal, page: [click("button", quoted(goal)[0])],
    "click-button-sequence": lambda goal, page: [*_FIRST_BUTTON, *_FIRST_BUTTON],
    "click-checkboxes": _boxes,
    "click-checkboxes-large": _boxes,
    "click-checkboxes-transfer": _boxes,
    "click-dialog": _dialog,
    "click-dialog-2": _dialog,
    "click-link": _link,
    "click-option": _option,
    "click-tab": lambda goal, page: [click("link", goal.removeprefix("Click on ").rstrip("."))],
    "click-test": lambda goal, page: [click("button", "Click Me!")],
    "click-test-2": lambda goal, page: _FIRST_BUTTON,
    "click-test-transfer": lambda goal, page: _FIRST_BUTTON,
    "choose-list": _choose,
    "choose-date-easy": _day,
    "click-collapsible": _unfold,
    "click-collapsible-nodelay": _unfold,
    "copy-paste-2": _copy,
    "enter-password": lambda goal, page: [
        type_into(quoted(goal)[0]),
        type_into(quoted(goal)[0], 1),
        click("button", "Submit"),
    ],
    "enter-text": lambda goal, page: [type_into(quoted(goal)[0]), click("button", "Submit")],
    "enter-text-2": lambda goal, page: [
        type_into(quoted(goal)[0].upper() if "upper case" in goal else quoted(goal)[0].lower()),
        click("button", "Submit"),
    ],
    "enter-text-dynamic": lambda goal, page: [
        type_into(quoted(goal)[0]),
        click("button", "Submit"),
    ],
    "enter-time": _time,
    "find-word": _word,
    "focus-text": lambda goal, page: [Action("click", {"element": "textbox ''"})],
    "focus-text-2": _ordinal,
    "form-sequence-3": _height,
    "login-user": _login,
    "multi-layouts": _movies,
    "multi-orderings": _movies,
    "read-table": _read_value,
    "read-table-2": _read_values,
    "search-engine": _search,
    "simple-algebra": _unknown,
    "simple-arithmetic": _sum,
    "unicode-test": lambda goal, page: [click("button", quoted(goal)[0])],
}
"""By task."""
