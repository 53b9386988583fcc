"""WebArena's grammar of actions, and how a page is told."""

import pytest
from webarena_entries import LOCAL

from clawjax.evals.harness.protocols import FormatError, InvalidAction, Parsed
from clawjax.evals.harness.tasks import Action
from clawjax.evals.harness.trajectory import AgentTurn
from clawjax.evals.web.axtree import Box, page_text
from clawjax.evals.web.grammar import (
    GRAMMAR,
    WEB_TOOLS,
    canonical,
    named_element,
    read_action,
    read_web_text,
    render_web,
    write_action,
)
from clawjax.evals.web.session import Session


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("click [12]", Action("click", {"element": "12"})),
        ("click [link 'Cart']", Action("click", {"element": "link 'Cart'"})),
        ("type [3] [red shoes]", Action("type", {"element": "3", "text": "red shoes"})),
        ("type [3] [a [b] c] [0]", Action("type", {"element": "3", "text": "a [b] c"})),
        ("press [Control+a]", Action("press", {"keys": "Control+a"})),
        ("scroll down", Action("scroll", {"direction": "down"})),
        ("tab_focus [1]", Action("tab_focus", {"index": 1})),
        ("goto [http://a/b?c=[d]]", Action("goto", {"url": "http://a/b?c=[d]"})),
        ("new_tab", Action("new_tab")),
        ("stop [N/A]", Action.answer("N/A")),
        ("stop", Action.answer("")),
        ("click [Cart]", None),
        (f"tab_focus [{'1' * 5000}]", None),
        ("delete [1]", None),
        ("", None),
    ],
)
def test_the_grammar(line, action):
    found = read_action(line)
    if action is not None and action.name == "type":
        assert found is not None
        action = Action("type", {**action.arguments, "enter": not line.endswith("[0]")})
    assert found == action


def test_what_is_written_is_read_back():
    for each in LOCAL:
        for line in each.extra["oracle"]:
            action = read_action(line)
            assert read_action(write_action(action)) == action


def brief():
    from clawjax.evals.harness.tasks import Task

    return Task("web", "1", "", tools=WEB_TOOLS).brief("e", text_rules=GRAMMAR)


def test_replies_hold_one_action_between_backquotes():
    told = brief()
    turn = render_web(Action("click", {"element": "12"}))
    assert read_web_text(turn.text, told) == Parsed((Action("click", {"element": "12"}),))
    first = "First ```scroll [down]``` then ```stop [x]```"
    assert read_web_text(first, told) == Parsed((Action("scroll", {"direction": "down"}),))
    assert isinstance(read_web_text("click [12]", told), FormatError)
    assert isinstance(read_web_text("```eval(1)```", told), FormatError)
    assert not isinstance(read_web_text("```stop []```", told), InvalidAction)
    assert AgentTurn().text == ""


def test_elements_have_names_and_an_index():
    assert named_element("textbox 'It\\'s' 1") == ("textbox", "It's", 1)
    assert named_element('link "a"') == ("link", "a", 0)
    assert named_element("12") is None


@pytest.mark.parametrize(
    "element",
    [r"link 'C:\users'", r"link '\x'", "link 'a\nb'", "link 'a\0'", f"link 'a' {'1' * 5000}"],
)
def test_a_name_that_is_no_literal_names_no_element(element):
    assert named_element(element) is None
    assert canonical(Action("click", {"element": element})).arguments["element"] == element


@pytest.mark.parametrize("origins", [None, ["http://a.example"]])
def test_what_is_no_url_is_not_opened(origins):
    window = object.__new__(Session)  # no browser is needed for it
    window._origins = origins
    assert window.may_open("http://a.example/x")
    assert not window.may_open("http://[a.example/x")


def node(number, role, name, children=(), **properties):
    return {
        "nodeId": str(number),
        "backendDOMNodeId": number,
        "role": {"value": role},
        "name": {"value": name},
        "childIds": [str(each) for each in children],
        "properties": [{"name": key, "value": {"value": each}} for key, each in properties.items()],
    }


def test_a_page_is_its_visible_nodes_that_say_something():
    nodes = [
        node(1, "RootWebArea", "Shop", [2, 3, 6], focused=True, focusable=True),
        node(2, "generic", "", [4]),
        node(3, "link", "Below the screen"),
        node(4, "link", "Cart", [5], url="http://a"),
        node(5, "StaticText", "Cart", [7]),
        node(6, "textbox", "Search", required=False),
        node(7, "InlineTextBox", "Cart"),
    ]
    boxes = {number: Box(10, 10, 20, 4) for number in (2, 4, 5, 6, 7)} | {3: Box(0, 900, 20, 4)}
    seen = page_text(nodes, boxes, (100, 100))
    assert seen.text.splitlines() == [
        "[1] RootWebArea 'Shop' focused: True",
        "\t[4] link 'Cart'",
        "\t[6] textbox 'Search' required: False",
    ]
    assert seen.find("link", "Cart").box.centre == (20, 12)
    assert seen.find("link", "Cart", 1) is None
