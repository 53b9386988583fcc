"""WebArena's rules, its quirks, its grammar and its files: what needs no browser."""

import dataclasses
import json

import httpx
import pytest

from clawjax.errors import ConfigError, UnavailableError
from clawjax.evals.harness.failures import OutsideFailure
from clawjax.evals.harness.protocols import FormatError, InvalidAction, Parsed
from clawjax.evals.harness.tasks import Action
from clawjax.evals.harness.trajectory import AgentTurn
from clawjax.evals.suites.webarena import records
from clawjax.evals.suites.webarena.acting import launch
from clawjax.evals.suites.webarena.checks import content_of
from clawjax.evals.suites.webarena.helpers import Context, call_helper, read_call
from clawjax.evals.suites.webarena.judge import read_fuzzy, read_ua
from clawjax.evals.suites.webarena.local.store import DATA, World, changed_rows
from clawjax.evals.suites.webarena.matching import (
    contents_match,
    exact_match,
    must_include,
    url_match,
)
from clawjax.evals.suites.webarena.records import find_tasks, placed, read_tasks
from clawjax.evals.suites.webarena.scoring import evaluate, string_match
from clawjax.evals.suites.webarena.suite import build
from clawjax.evals.suites.webarena.tokens import tokens
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
from clawjax.evals.web.har import keep_har, recording
from clawjax.evals.web.session import Session

LOCAL = read_tasks((DATA / "tasks.json").read_bytes())


def entry(**evaluation):
    known = {"eval_types": ["string_match"], "reference_answers": {"exact_match": "x"}}
    known |= {"reference_url": "", "program_html": []} | evaluation
    return {
        "sites": ["shopping"],
        "task_id": 1,
        "require_login": True,
        "storage_state": "./.auth/shopping_state.json",
        "start_url": "__SHOPPING__ |AND| __SHOPPING__/cart",
        "intent": "Go to __SHOPPING__",
        "eval": known,
        "intent_template_id": 7,
    }


def task(**evaluation):
    return read_tasks(json.dumps([entry(**evaluation)]).encode())[0]


class Says:
    name = "says"

    def __init__(self, *replies):
        self.replies = list(replies)
        self.asked = []

    async def ask(self, prompt):
        self.asked.append(prompt)
        return self.replies.pop(0)


@pytest.mark.parametrize(
    ("reference", "answer", "is_match"),
    [
        ("Quest Lumaflex", " 'quest lumaflex' ", True),
        ('"a"', "a", True),
        ("a b", "a  b", False),
        ("3", "3.", False),
        ("'tis", "'TIS", True),
    ],
)
def test_exact_match_ignores_case_and_one_pair_of_quotes_only(reference, answer, is_match):
    assert exact_match(reference, answer) is is_match


def test_a_single_character_has_to_be_a_word_of_its_own():
    assert must_include("0", "10 orders")
    assert not must_include("0", "10 orders", tokenize=True)
    assert must_include("0", "there are 0 of them", tokenize=True)
    assert must_include("0", "the answer: 0.", tokenize=True)
    assert not must_include("0", "$0.00", tokenize=True)  # as published, however odd
    assert must_include("10", "110 orders", tokenize=True)  # two characters are no word


def test_words_are_split_as_nltk_splits_them():
    assert tokens("score: 0. Method") == ["score", ":", "0.", "Method"]
    assert tokens("It's $3.88 (about 3,36), isn't it?") == (
        ["It", "'s", "$", "3.88", "(", "about", "3,36", ")", ",", "is", "n't", "it", "?"]
    )
    assert tokens('she said "no--never"...') == (
        ["she", "said", "``", "no", "--", "never", "''", "..."]
    )


def test_a_reference_url_matches_wherever_it_occurs():
    assert url_match("http://a/item/1", "http://a/item/1/")
    assert url_match("http://a/item/1", "http://a/item/12")  # as published, however odd
    assert url_match("http://a/x |OR| http://a/y", "http://a/y?z=1")
    assert not url_match("http://a/item/1", "http://a/item")
    assert not url_match("http://a/item/1", "http://b/item/1")


def test_parameters_of_any_reference_have_to_be_there():
    assert url_match("http://a/s?q=1&p=2", "http://a/s?p=2&q=1&r=3")
    assert not url_match("http://a/s?q=1", "http://a/s")
    assert not url_match("http://a/s?q=1", "http://a/s?q=2")
    assert url_match("http://a/s?q=1 |OR| http://a/s?q=2", "http://a/s?q=2")
    assert not url_match("http://a/s?q=1 |OR| http://a/t", "http://a/t")  # as published


def test_contents_have_alternatives_and_answers_have_not():
    assert contents_match({"must_include": ["a |OR| b", "c"]}, "B and C")
    assert not contents_match({"must_include": ["a |OR| b", "c"]}, "b")
    assert contents_match({"exact_match": "2"}, " 2 ")
    assert not contents_match({"exact_match": "2"}, "12")
    assert not must_include("a |OR| b", "b")


async def test_every_evaluator_has_to_agree():
    both = task(
        eval_types=["string_match", "url_match"],
        reference_url="__SHOPPING__/cart",
    )
    given = {"contents": (), "sites": {"__SHOPPING__": "http://s:1/"}}
    at_cart = await evaluate(both, answer="X", url="http://s:1/cart", **given)
    assert at_cart == {"string_match": 1.0, "url_match": 1.0}
    elsewhere = await evaluate(both, answer="X", url="http://s:1/", **given)
    assert elsewhere == {"string_match": 1.0, "url_match": 0.0}


async def test_placeholders_are_replaced_in_what_a_page_has_to_contain():
    target = {
        "url": "last",
        "locator": "",
        "required_contents": {"must_include": ["__REDDIT__/f/space"]},
    }
    checked = task(eval_types=["program_html"], reference_answers=None, program_html=[target])
    found = await evaluate(
        checked,
        answer="",
        url="http://r/",
        contents=["see http://r/f/space"],
        sites={"__REDDIT__": "http://r"},
    )
    assert found == {"program_html": 1.0}
    assert placed(checked, {"__SHOPPING__": "http://s"}).intent == "Go to http://s"


async def test_a_judge_is_asked_about_free_answers_and_not_where_words_already_decide():
    free = task(reference_answers={"fuzzy_match": ["yes", "blue"]})
    judge = Says("This is CORRECT.", "correct")
    assert await string_match(free, "Yes, blue", judge)
    assert "reference answer: yes\n" in judge.asked[0]
    assert "student answer: yes, blue\n" in judge.asked[0]
    assert not await string_match(free, "no", Says("partially correct", "correct"))
    both = task(reference_answers={"must_include": ["blue"], "fuzzy_match": ["yes"]})
    assert not await string_match(both, "red", Says())


async def test_impossible_tasks_accept_na_or_the_right_reason():
    impossible = task(reference_answers={"fuzzy_match": "N/A"}, string_note="no such product")
    assert await string_match(impossible, " n/a", None)
    assert await string_match(impossible, "it is not sold", Says("Same"))
    assert not await string_match(impossible, "no time", Says("different, not the same"))


async def test_without_a_judge_or_a_verdict_there_is_no_score():
    with pytest.raises(ValueError, match="judge_url"):
        await string_match(task(reference_answers={"fuzzy_match": ["yes"]}), "yes", None)
    for read in (read_fuzzy, read_ua):
        with pytest.raises(ValueError, match="no verdict"):
            read("I cannot say.")


def test_a_file_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="eval_types has magic"):
        task(eval_types=["magic"])
    with pytest.raises(ConfigError, match="WebArena's format"):
        read_tasks(b'[{"task_id": 1}]')
    odd = {"url": "last", "locator": "", "required_contents": {"regex": "."}}
    with pytest.raises(ConfigError, match="required_contents has regex"):
        task(program_html=[odd])


def test_tasks_and_sites_that_are_not_there_are_said_to_be_missing(monkeypatch):
    with pytest.raises(UnavailableError, match=r"suite\.options\.sites"):
        build({})
    with pytest.raises(ConfigError, match="'shop'"):
        build({"sites": {"shop": "http://s"}})
    monkeypatch.setattr(records, "_FILES", (("no_such_package", "x.json"),))
    with pytest.raises(UnavailableError, match="pip install"):
        find_tasks()


def test_all_published_tasks_are_read():
    try:
        content = find_tasks().read_bytes()
    except UnavailableError as missing:
        pytest.skip(str(missing))
    tasks = read_tasks(content)
    assert len(tasks) == 812
    assert len({each.template for each in tasks}) == 190
    kinds = [each.evaluators for each in tasks]
    assert kinds.count(("string_match",)) == 325
    assert kinds.count(("program_html",)) == 282
    assert kinds.count(("url_match",)) == 66
    assert sum(each.is_judged for each in tasks) == 118
    for each in tasks:
        for target in each.targets:
            for text in (target.url, target.locator):
                if text.startswith("func:"):
                    read_call(text.removeprefix("func:"))


def test_our_tasks_use_every_evaluator_and_leave_the_answer_out_of_what_is_asked():
    assert len(LOCAL) == 22
    assert {each for task in LOCAL for each in task.evaluators} == {
        "string_match",
        "url_match",
        "program_html",
    }
    for each in LOCAL:
        reference = each.reference_answers.get("exact_match")
        assert reference is None or reference not in each.intent, each.task_id
        actions = [read_action(line) for line in each.extra["oracle"]]
        assert None not in actions


@pytest.mark.parametrize(
    "call", ["__import__('os').system('id')", "print(1)", "reddit_get_post_url(open('x'))", "1 +"]
)
def test_only_known_helpers_are_called_and_only_with_literals(call):
    with pytest.raises(ValueError, match=r"helper|malformed"):
        read_call(call)


@pytest.mark.parametrize(
    ("url", "post"),
    [
        ("http://r/f/space/12/some-title", "http://r/f/space/12/"),
        ("http://r/f/space/12/t/-/comment/3", "http://r/f/space/12/"),
        ("http://r/f/space", "http://r/f/space"),
        ("http://r/f/it's/1/x", "http://r/f/it's/1/"),
    ],
)
def test_a_post_is_found_from_any_page_of_it(url, post):
    context = Context(url, {}, {})
    assert call_helper("reddit_get_post_url('__last_url__')", context) == post


@pytest.fixture
def browser_error():
    return pytest.importorskip("playwright.sync_api").Error


class Window:
    """Of a site that is down."""

    page = None

    def __init__(self, error):
        self.error = error

    def may_open(self, url):
        return url.startswith("http://shop/")

    def other_page(self, url, settle_s):
        raise self.error("net::ERR_CONNECTION_REFUSED")


NOBODY = "http://127.0.0.1:9"
ORDER = {"url": "func:shopping_get_latest_order_url()", "locator": "", "prep_actions": []}


@pytest.mark.parametrize("target", [ORDER, ORDER | {"url": "http://shop/cart"}])
def test_a_live_site_that_does_not_answer_a_check_is_nobodys_doing(target, browser_error):
    live = Context("http://shop/", {"__SHOPPING__": NOBODY}, {}, is_live=True)
    with pytest.raises(OutsideFailure, match="did not answer while it was checked"):
        content_of(target, Window(browser_error), live)
    with pytest.raises((browser_error, httpx.HTTPError)):
        content_of(target, Window(browser_error), dataclasses.replace(live, is_live=False))


def test_whose_last_page_is_no_page_of_the_sites_has_nothing_there(browser_error):
    nowhere = Context("chrome-error://x/", {}, {}, is_live=True)
    target = {"url": "func:reddit_get_post_url('__last_url__')", "locator": "", "prep_actions": []}
    assert content_of(target, Window(browser_error), nowhere) == ""


@pytest.mark.parametrize("sites", [None, {"__SHOPPING__": NOBODY}])
def test_sites_that_somebody_runs_are_live(sites):
    assert launch("web", {"sites": sites}).is_live == (sites is not None)


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


def test_a_world_begins_the_same_and_forgets_who_was_signed_in():
    world = World()
    before = world.digests()
    token = world.sign_in("shop", "emma")
    world.change("UPDATE posts SET votes = 99 WHERE id = 11")
    world.change("DELETE FROM wishes")
    assert changed_rows(before, world.digests()) == ["posts[11]", "wishes[1]"]
    assert world.user("shop", token) == "emma"
    assert world.user("forum", token) is None
    world.begin()
    assert world.digests() == before
    assert world.user("shop", token) is None
    assert world.admin_token("admin1234") is None


def test_an_archive_keeps_what_was_sent_and_no_pages(tmp_path):
    def entry(kind, **sent):
        content = {"mimeType": kind, "text": "long", "encoding": "base64"}
        return {"request": sent, "response": {"status": 200, "content": content}}

    page, answer = entry("text/html", postData={"text": "a=1"}), entry("application/json")
    recorded, kept = tmp_path / "recorded.har", tmp_path / "episode" / "network.har"
    recorded.write_text(json.dumps({"log": {"entries": [page, answer]}}))
    keep_har(recorded, kept)
    first, second = json.loads(kept.read_text())["log"]["entries"]
    assert first["response"]["content"] == {"mimeType": "text/html"}
    assert first["request"] == {"postData": {"text": "a=1"}}
    assert second == answer


@pytest.mark.parametrize(
    ("url", "is_recorded"),
    [
        ("http://a.test/", True),
        ("http://a.test/static/logo.PNG", True),  # as the scorer reads it
        ("http://a.test/static/logo.png", False),
        ("http://a.test/static/x.js?version=1", False),
        ("http://a.test/data.json", True),
        ("http://a.test/search?q=x.js", True),
        ("http://a.test/p#x.css", True),
    ],
)
def test_assets_are_not_recorded(tmp_path, url, is_recorded):
    pattern = recording(tmp_path / "x.har")["record_har_url_filter"]
    assert (pattern.search(url) is not None) == is_recorded
