"""Scripted solutions: rules from a goal and a page to actions, and the record of what they did.

    python -m clawjax.evals.suites.miniwob.solutions [--path HTML_FOLDER]

plays every rule on every seed of the protocol and writes the actions of the solved ones to
`data/miniwob_solutions.json`. A page with the same seed is the same page, so the record is the
oracle of the suite's gates.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence

from clawjax.evals.harness.tasks import Action, Task
from clawjax.evals.harness.trajectory import to_json
from clawjax.evals.suites.miniwob.environment import MiniWobEnvironment
from clawjax.evals.suites.miniwob.suite import SOLUTIONS, build

__all__ = ["RULES", "main", "solve"]

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
    "focus-text": lambda goal, page: [Action("click", {"element": "textbox ''"})],
    "focus-text-2": _ordinal,
    "login-user": _login,
    "simple-arithmetic": _sum,
}
"""By task."""


def solve(environment: MiniWobEnvironment, task: Task) -> list[Action] | None:
    """Play the task's rule.

    Returns:
        Its actions; None where they do not solve the task, or are more than are allowed.
    """
    first = environment.reset(task.setup(0))
    goal, _, page = first.partition("\n\n")
    actions = list(RULES[task.options["page"]](goal.removeprefix("Goal: "), page))
    for action in actions[: task.limits.turns]:
        if environment.step(action).is_done:
            break
    return actions if environment.snapshot()["raw_reward"] > 0 else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Record all solutions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path")
    path = parser.parse_args(arguments).path
    suite = build({"path": path, "tasks": "all"})
    found: dict[str, list[Action]] = {}
    environment = MiniWobEnvironment(**suite.launch.options)
    try:
        for task in suite.tasks:
            if task.options["page"] in RULES:
                actions = solve(environment, task)
                if actions is not None:
                    found[f"{task.options['page']} {task.options['seed']}"] = actions
    finally:
        environment.close()
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps([to_json(each) for each in actions])}"
        for name, actions in found.items()
    )
    SOLUTIONS.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
