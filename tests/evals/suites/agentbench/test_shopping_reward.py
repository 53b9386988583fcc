"""WebShop's reward, worked out by hand from its formula; likeness of texts as thefuzz has it."""

import pytest

from clawjax.errors import ConfigError
from clawjax.evals.suites.agentbench.shopping.reward import (
    Shelf,
    read_action,
    read_colors,
    reward,
)
from clawjax.evals.suites.agentbench.shopping.similarity import token_set_ratio

NOUNS = {"bottle", "perfume", "spray", "shoe", "lamp", "desk"}
SHELF = Shelf(lambda text: [w for w in text.lower().split() if w in NOUNS], ("navy", "red"))
GOAL = {
    "query": "perfume",
    "product_category": "Beauty \u203a Fragrance \u203a Women",
    "name": "Perfume spray bottle",
    "attributes": ["long lasting", "alcohol free"],
    "goal_options": ["navy blue", "6.76 fl oz"],
    "price_upper": 100.0,
}
PRODUCT = {
    "query": "perfume",
    "product_category": "Beauty \u203a Fragrance \u203a Men",
    "name": "Perfume spray bottle",
    "Attributes": ["lasting long"],
    "Title": "Perfume",
    "BulletPoints": ["Alcohol free and mild"],
    "Description": "",
}


def bought(product=None, price=64.98, **options):
    options = options or {"color": "dark navy", "size": "6.76 fl oz"}
    return reward(PRODUCT | (product or {}), GOAL, price=price, options=options, shelf=SHELF)


def test_the_right_purchase_is_worth_one():
    assert bought().value == 1.0


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ({"price": 100.01}, 4 / 5),
        ({"color": "red"}, 3 / 5),  # neither the colour nor the size
        ({"product": {"Attributes": []}}, 4 / 5),
        ({"product": {"Attributes": [], "BulletPoints": []}}, 3 / 5),
    ],
)
def test_each_part_counts_the_same(change, value):
    assert bought(**change).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("product", "kind"),
    [
        ({"name": "Desk lamp"}, 0.0),  # no noun in common
        ({"name": "Spray", "query": "x", "product_category": "x"}, 1.0),  # a third of the nouns
        ({"query": "x", "product_category": "Beauty \u203a Fragrance"}, 1.0),
    ],
)
def test_another_kind_of_product_is_worth_less(product, kind):
    found = bought(product)
    assert found.kind == kind
    assert found.value == pytest.approx(kind)


def test_a_tenth_of_the_nouns_is_half_a_match():
    nouns = "abcdefgh"
    shelf = Shelf(lambda text: [w for w in text.split() if w in nouns])
    goal = GOAL | {"name": " ".join(nouns), "attributes": ["x"], "goal_options": []}
    product = PRODUCT | {"name": "a", "query": "y", "product_category": "y", "Title": "x"}
    found = reward(product, goal, price=1.0, options={}, shelf=shelf)
    assert (found.kind, found.value) == (0.5, 0.5)
    goal["name"] = " ".join("abcdefghijk")
    wide = Shelf(lambda text: text.split())
    assert reward(product, goal, price=1.0, options={}, shelf=wide).kind == 0.1


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        # thefuzz 0.22: fuzz.token_set_ratio
        ("long lasting", "lasting long scent", 100),
        ("x-large", "xx-large", 93),
        ("navy-blue cotton", "blue", 100),
        ("pack_of 1", "pack of 2", 89),
        ("water proof", "waterproof", 48),
        ("", "x", 0),
    ],
)
def test_likeness_is_thefuzzs(one, other, wanted):
    assert token_set_ratio(one, other) == wanted
    assert token_set_ratio(other, one) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Thought:\nI think\n\nAction:\nclick[Buy Now]", "click[Buy Now]"),
        ("action: search[a [b] c]", "search[a [b]"),
        ("Action:   \n  search[x]", "search[x]"),
        ("Action: buy[x]", None),
        ("click[x]", None),
    ],
)
def test_actions_are_read_as_published(text, wanted):
    assert read_action(text) == wanted


def test_colours_are_read_from_webshops_file_without_running_it(tmp_path):
    file = tmp_path / "normalize.py"
    file.write_text("raise SystemExit\nCOLOR_SET = ['aqua', 'ash']\n")
    assert read_colors(file) == ("aqua", "ash")
    file.write_text("X = 1\n")
    with pytest.raises(ConfigError, match="COLOR_SET"):
        read_colors(file)
