"""WebArena's rules, its quirks, its grammar and its files: what needs no browser."""

import dataclasses

import httpx
import pytest
from webarena_entries import task

from clawjax.evals.harness.failures import OutsideFailure
from clawjax.evals.suites.webarena.acting import launch
from clawjax.evals.suites.webarena.checks import content_of
from clawjax.evals.suites.webarena.helpers import Context, call_helper, read_call
from clawjax.evals.suites.webarena.judge import read_fuzzy, read_ua
from clawjax.evals.suites.webarena.matching import (
    contents_match,
    exact_match,
    must_include,
    url_match,
)
from clawjax.evals.suites.webarena.records import placed
from clawjax.evals.suites.webarena.scoring import evaluate, string_match
from clawjax.evals.suites.webarena.tokens import tokens


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
