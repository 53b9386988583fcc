"""What labels are worth to a judge that is surer than it is right."""

from __future__ import annotations

import random

import pytest
from _judge_labels import after_labels

from clawjax.evals.judging.quality import Judged
from clawjax.evals.judging.turns import make_labelled
from clawjax.records import Message, Verdict


def judged(count: int, *, right: float, score: float) -> list[Judged]:
    """A judge that gives ±`score`, which has the label's sign in so many cases."""
    rng = random.Random(0)
    found = []
    for number in range(count):
        label = rng.choice((-1.0, 1.0))
        said = score * label if rng.random() < right else -score * label
        reply = Message("assistant", "a reply")
        item = make_labelled(f"t{number}", "some", "a question", reply, (), label)
        found.append(Judged(item, Verdict(item.turn_id, "rules", said, 0.0), 0.0))
    return found


def test_a_boaster_is_corrected_and_the_more_labels_the_better() -> None:
    rows = after_labels(judged(400, right=0.6, score=1.0))
    assert [row["labels"] for row in rows] == [16, 32, 64]
    assert [row["turns"] for row in rows] == [384, 368, 336]
    assert rows[-1]["ece_before"] == pytest.approx(0.4, abs=0.05)
    assert rows[-1]["ece_after"] < rows[0]["ece_after"] < rows[0]["ece_before"]
    assert rows[-1]["better"] == 1.0


def test_an_honest_judge_is_left_nearly_alone() -> None:
    (*_, row) = after_labels(judged(400, right=0.75, score=0.5))
    assert row["ece_after"] < 0.1


def test_nothing_is_said_of_too_few_turns_or_of_abstentions() -> None:
    some = judged(60, right=0.9, score=1.0)
    assert [row["labels"] for row in after_labels(some)] == [16]
    silent = [
        each._replace(verdict=Verdict(each.item.turn_id, "rules", None, 0.0)) for each in some
    ]
    assert after_labels(silent) == []
