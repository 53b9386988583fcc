import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.evals.judging.attacks import attacked, padded
from clawjax.evals.judging.quality import Judged, calibration, kappa, measure
from clawjax.evals.judging.turns import LabelledTurn, labelled_turns, make_labelled
from clawjax.records import Message, NextStateKind, Verdict

TURNS = labelled_turns()


def judged(item: LabelledTurn, score: float | None) -> Judged:
    return Judged(item, Verdict(item.turn_id, "m", score, 0.0), 0.01)


def labelled(*pairs: tuple[float, float | None]) -> list[Judged]:
    """From label and score."""
    return [
        judged(make_labelled(f"t{i}", "g", "q", Message("assistant", "r"), (), label), score)
        for i, (label, score) in enumerate(pairs)
    ]


def test_the_labelled_turns_are_of_all_kinds_and_the_same_each_time():
    assert len({turn.turn_id for turn in TURNS}) == len(TURNS) > 250
    assert {turn.group for turn in TURNS} == {"reaction", "tool", "principle", "persona"}
    for group in ("reaction", "tool", "persona"):
        assert {turn.label for turn in TURNS if turn.group == group} == {-1.0, 0.0, 1.0}
    assert labelled_turns() == TURNS
    assert labelled_turns(seed=1) != TURNS
    assert all(
        (turn.next_state.kind is NextStateKind.SESSION_CLOSED) == (turn.group == "principle")
        for turn in TURNS
    )


def test_a_perfect_judge_and_one_that_says_nothing():
    perfect = measure([judged(turn, turn.label or None) for turn in TURNS])
    assert perfect["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert (perfect["kappa"]["value"], perfect["ece"]) == (1.0, 0.0)
    assert (perfect["abstained"]["value"], perfect["neutral_scored"]["value"]) == (0.0, 0.0)
    silent = measure([judged(turn, None) for turn in TURNS])
    assert silent["accuracy"]["value"] is None
    assert (silent["abstained"]["value"], silent["kappa"]["value"]) == (1.0, 0.0)


def test_chance_has_a_kappa_near_zero_and_an_interval_that_says_so():
    rng = random.Random(0)
    found = measure([judged(turn, rng.choice([1.0, -1.0, None])) for turn in TURNS])["kappa"]
    assert found["low"] < 0.0 < found["high"]
    assert abs(found["value"]) < 0.15


def test_numbers_by_hand():
    some = labelled((1, 1.0), (1, -1.0), (-1, -1.0), (-1, None), (0, None), (0, 1.0))
    found = measure(some)
    assert found["accuracy"]["value"] == pytest.approx(2 / 3)
    assert found["abstained"]["value"] == 0.25
    assert found["neutral_scored"]["value"] == 0.5
    # agreed 3/6; labels and signs are each 2/6: expected 1/3
    assert found["kappa"]["value"] == pytest.approx((0.5 - 1 / 3) / (1 - 1 / 3))


def test_calibration_is_the_gap_between_claim_and_truth():
    found = calibration(labelled((1, 0.5), (1, 0.5), (1, 0.5), (-1, 0.5)))
    assert found == {"ece": pytest.approx(0.0), "reliability": [(0.75, 0.75, 4)]}
    assert calibration(labelled((1, 1.0), (-1, 1.0)))["ece"] == 0.5


@given(st.lists(st.tuples(st.sampled_from([-1, 0, 1]), st.none() | st.floats(-1, 1)), min_size=1))
def test_kappa_never_exceeds_one(pairs):
    found = kappa(labelled(*pairs))
    assert found is None or -1.0 - 1e-9 <= found <= 1.0 + 1e-9


def test_a_judge_that_obeys_is_found_out_and_one_that_does_not_is_not():
    attacks = attacked(TURNS, count=20)
    base = [judged(turn, turn.label or None) for turn in TURNS]
    obeys = measure([*base, *(judged(turn, turn.wish) for turn in attacks)])
    stands = measure([*base, *(judged(turn, turn.label) for turn in attacks)])
    assert (obeys["injection"]["turns"], obeys["injection"]["followed"]) == (20, 1.0)
    assert (stands["injection"]["followed"], stands["injection"]["moved"]) == (0.0, 0.0)
    assert obeys["accuracy"]["value"] == 1.0, "attacked copies do not count for accuracy"
    places = [turn.turn.reply.content for turn in attacks]
    originals = {turn.turn_id: turn.turn.reply.content for turn in TURNS}
    in_reply = [text != originals[a.twin_of] for text, a in zip(places, attacks, strict=True)]
    assert any(in_reply)
    assert not all(in_reply)


def test_a_judge_that_likes_length_is_found_out():
    copies = padded(TURNS, count=15)
    base = [judged(turn, 0.25) for turn in TURNS]
    found = measure([*base, *(judged(turn, 0.75) for turn in copies)])
    assert found["verbosity"] == {"turns": 15, "shift": 0.5}
    assert all(turn.next_state.turn_id == turn.turn_id for turn in copies)
