import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from clawjax.rewards.reaction_data import (
    LABELS,
    TRAIN_PATH,
    Example,
    compounds,
    read_examples,
    varied,
)

DATA = Path(__file__).parent / "data"
TEST_PATH = DATA / "reactions_test.tsv"
VALIDATION_PATH = DATA / "reactions_validation.tsv"


class Words(NamedTuple):
    """A text's words, in an order and without one."""

    said: str
    """Between spaces."""
    count: int
    distinct: frozenset[str]


def words_of(text: str) -> Words:
    words = re.findall(r"\w+|[^\w\s.,!?'\u2019\"]", text.lower().replace("'", ""))
    return Words(f" {' '.join(words)} ", len(words), frozenset(words))


def is_near(one: Words, other: Words) -> bool:
    """Same words but for order and a few, or one of three words or more inside the other."""
    shared = len(one.distinct & other.distinct)
    all_words = len(one.distinct) + len(other.distinct) - shared
    short, long = sorted((one, other), key=lambda words: words.count)
    return shared >= 0.6 * all_words or (short.count >= 3 and short.said in long.said)


@pytest.mark.parametrize(
    ("path", "others"),
    [(TEST_PATH, (TRAIN_PATH, VALIDATION_PATH)), (VALIDATION_PATH, (TRAIN_PATH,))],
)
def test_what_is_measured_on_shares_nothing_with_what_was_chosen_on(path, others):
    train = [(row.text, words_of(row.text)) for other in others for row in read_examples(other)]
    measured = [(row.text, words_of(row.text)) for row in read_examples(path)]
    near = [
        (one, other) for one, words in measured for other, known in train if is_near(words, known)
    ]
    assert near == []


def test_near_duplicates_would_be_noticed():
    assert is_near(words_of("Way too long!"), words_of("way too long"))
    assert is_near(words_of("Sorry, but it's not what I wanted."), words_of("Not what I wanted"))
    assert not is_near(words_of("Thanks a lot"), words_of("That is a lot of text"))


def test_both_sets_are_large_varied_and_balanced():
    train, test = read_examples(), read_examples(TEST_PATH)
    assert len(test) >= 200
    assert len(train) >= 3 * len(test)
    for rows in (train, test):
        assert len({row.text.lower() for row in rows}) == len(rows)
        counts = Counter(row.label for row in rows)
        assert set(counts) == set(LABELS)
        assert min(counts.values()) >= 0.2 * len(rows)


def test_compounds_keep_the_reaction_its_label_and_add_a_neutral_question():
    rows = [
        Example("praise", "Thanks a lot!"),
        Example("complaint", "too long"),
        Example("neutral", "How do bees make honey?"),
    ]
    made = compounds(rows, 50, np.random.default_rng(0))
    assert Counter(row.label for row in made) == {"praise": 50, "complaint": 50, "neutral": 50}
    for row in made:
        assert "how do bees make honey?" in row.text.lower()
        original = next(e.text for e in rows if e.label == row.label)
        assert original.lower().rstrip(".") in row.text.lower()
    assert len({row.text for row in made}) > 20
    assert any(row.text.lower().startswith("how do bees") for row in made if row.label == "praise")


def test_varied_makes_compounds_of_a_share_of_the_messages_and_keeps_the_labels():
    rows = [Example("praise", f"Thanks, number {n}!") for n in range(100)]
    rows += [Example("neutral", "How do bees make honey?")] * 100
    made = varied(rows, 0.5, np.random.default_rng(0))
    assert [row.label for row in made] == [row.label for row in rows]
    assert 70 < sum(one != other for one, other in zip(rows, made, strict=True)) < 130
    assert varied(rows, 0.0, np.random.default_rng(0)) == rows
