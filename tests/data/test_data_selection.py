"""Which rows are kept, held out and mixed."""

from collections import Counter
from dataclasses import replace

import pytest

from clawjax.data import dedupe
from clawjax.data.dedupe import deduped, shingles, similarity
from clawjax.data.mixing import Mixture, shares
from clawjax.data.preferences import Provenance, Rated
from clawjax.data.split import SplitBy, apart, split
from clawjax.errors import DataError
from clawjax.records import Message

LONG = " ".join(f"word{n}" for n in range(60))


def row(said: str, *, user: str = "ann", score: float = 1.0, who: str = "human") -> Rated:
    prompt = (Message("user", f"About {' '.join(said.split())[:6]}?"),)
    return Rated(prompt, Message("assistant", said), score, Provenance(who), user=user, source=said)


def test_of_rows_that_are_alike_the_first_is_kept():
    rows = [
        row("A reply."),
        row("a  REPLY."),
        row(LONG),
        row(LONG + " more"),
        row(LONG, user="bob"),
        row(LONG, score=-1.0),
        row("word0 but otherwise something quite different"),
    ]
    found = deduped(rows, similar=0.9)
    assert found.rows == (rows[0], rows[2], rows[4], rows[5], rows[6])
    assert (found.exact, found.near) == (1, 1)
    assert deduped(rows, similar=1.1).near == 0


def test_near_repetitions_are_found_by_comparing_few_with_the_same_result_as_comparing_all():
    words = [f"w{n}" for n in range(12)]
    endings = ([f"x{n % 4}"] * (n % 3) + [f"y{n}"] for n in range(40))
    rows = [row(" ".join(words[: 6 + n % 6] + end)) for n, end in enumerate(endings)]
    kept = []
    for one in rows:
        if all(similarity(shingles(one), shingles(other)) < 0.6 for other in kept):
            kept.append(one)
    assert deduped(rows, similar=0.6).rows == tuple(kept)
    assert 1 < len(kept) < 40


def test_rows_just_as_similar_as_asked_count_as_alike():
    words = [f"w{n}" for n in range(101)]
    rows = [
        replace(row(" ".join(words[:n])), prompt=(Message("user", "Tell me."),)) for n in (101, 56)
    ]
    assert similarity(*map(shingles, rows)) == 0.55
    assert deduped(rows, similar=0.55).near == 1


def test_a_system_prompt_that_all_share_does_not_have_all_compared_with_all(monkeypatch):
    shared = Message("system", " ".join(f"rule{n}" for n in range(400)))
    rows = [
        replace(row(f"{n} answer {n} to request {n}"), prompt=(shared, Message("user", f"do {n}")))
        for n in range(60)
    ]
    compared = []
    monkeypatch.setattr(dedupe, "_is_alike", lambda *pair: compared.append(pair))
    assert len(deduped(rows).rows) == 60
    assert compared == []


def test_nobody_is_on_both_sides_and_the_side_does_not_depend_on_the_others():
    rows = [row(f"reply {n} of it", user=f"user{n % 50}") for n in range(200)]
    train, held_out = split(rows, held_out=0.2)
    assert {r.user for r in train} & {r.user for r in held_out} == set()
    assert 20 <= len(held_out) <= 60
    assert set(split(rows[100:], held_out=0.2).held_out) <= set(held_out)
    assert split(rows, held_out=0.2, seed=1).held_out != held_out


def test_the_rows_of_one_user_are_split_by_prompt():
    rows = [row(f"{n:06d} is said") for n in range(50)]
    with pytest.raises(DataError, match=r"50 rows of 1 users .* split by prompt"):
        split(rows, held_out=0.2)
    train, held_out = split(rows, held_out=0.2, by=SplitBy.prompt)
    assert {r.prompt for r in train} & {r.prompt for r in held_out} == set()
    assert split(rows, held_out=0).train == tuple(rows)


def test_what_is_held_out_elsewhere_is_not_learnt_from():
    ann, bob, anybody = (row("one two", user=user) for user in ("ann", "bob", ""))
    other, shouted = row("three"), replace(ann, prompt=(Message("user", "ABOUT  one tw?"),))
    held_out = [replace(ann, reply=Message("assistant", "Another."))]
    assert apart([other, ann, shouted, anybody, bob], held_out) == (other, bob)
    assert apart([other, ann, bob], held_out, by=SplitBy.prompt) == (other,)
    assert apart([other, ann, bob], [anybody]) == (other,)
    further = (Message("user", "Hi"), Message("assistant", "Ho"), *ann.prompt)
    assert apart([replace(ann, prompt=further)], held_out), "another conversation"


def mixed(**settings) -> Mixture:
    rows = [row(f"h{n}") for n in range(6)] + [row(f"s{n}", who="synthetic") for n in range(12)]
    return Mixture(rows, **settings)


def test_without_weights_every_row_comes_equally_often():
    counts = Counter(r.source for n in range(6) for r in mixed().batch(n, 6))
    assert set(counts.values()) == {2}


def test_weights_are_kept_in_every_batch_and_caps_leave_rows_out():
    mixture = mixed(weights={"human": 1, "synthetic": 3}, caps={"synthetic": 4})
    batches = [mixture.batch(n, 8) for n in range(4)]
    assert all(
        shares(batch)
        == {
            "data/share/human": 0.25,
            "data/share/ai": 0.0,
            "data/share/synthetic": 0.75,
            "data/share/live": 0.0,
        }
        for batch in batches
    )
    assert mixture.size == 10
    assert len({r.source for batch in batches for r in batch if r.source[0] == "s"}) == 4


def test_every_row_comes_once_and_the_last_batch_has_what_is_left():
    mixture = mixed(is_once=True)
    batches = [mixture.batch(n, 7) for n in range(3)]
    assert [len(batch) for batch in batches] == [7, 7, 4]
    assert len({r.source for batch in batches for r in batch}) == mixture.size == 18
    assert (mixture.epochs(2, 9), mixture.epochs(3, 7), mixed().epochs(3, 7)) == (1, 1, 21 / 18)
    assert [mixed().batch(n, 7) for n in range(2)] == batches[:2]


def test_a_batch_is_a_function_of_its_number():
    batches = [mixed(seed=3).batch(n, 5) for n in range(4)]
    again = mixed(seed=3)
    assert [again.batch(n, 5) for n in (3, 0, 1, 2)] == [batches[n] for n in (3, 0, 1, 2)]
    assert mixed(seed=4).batch(0, 5) != batches[0]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"weights": {"live": 1.0}}, "leave nothing to learn from"),
        ({"weights": {"cat": 1.0}}, "weights has cat: 1.0: name human, ai, synthetic, live"),
        ({"caps": {"human": -1}}, "caps has human: -1"),
    ],
)
def test_a_mixture_of_nothing_is_refused(settings, fault):
    with pytest.raises(DataError, match=fault):
        mixed(**settings)
