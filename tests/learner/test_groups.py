"""Replies to one prompt are compared, so they are trained on together."""

from turn_records import make_turn

from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.groups import undivided, whole_groups


def ready(turn_id: str, answer: str, *, version: int = 0) -> AdmittedTurn:
    return AdmittedTurn(make_turn(turn_id, version=version, response_id=answer), 1.0, (), 103.0)


def chosen(turns: list[AdmittedTurn], undecided: dict[str, str], *, now: int = 0) -> list[str]:
    kept = whole_groups(turns, undecided, age=lambda version: now - version, max_staleness=2)
    return [admitted.turn.turn_id for admitted in kept]


def test_a_choice_waits_until_all_choices_of_its_answer_are_decided() -> None:
    turns = [ready("a", "r"), ready("b", "r"), ready("c", "s")]
    assert chosen(turns, {"a": "r", "b": "r", "late": "r", "c": "s"}) == ["c"]
    assert chosen(turns, {"a": "r", "b": "r", "c": "s"}) == ["a", "b", "c"]


def test_a_choice_that_would_soon_be_too_old_waits_for_nobody() -> None:
    turns = [ready("old", "r"), ready("new", "r", version=1)]
    undecided = {"old": "r", "new": "r", "late": "r"}
    assert chosen(turns, undecided, now=2) == ["old"]


def test_a_group_that_a_batch_has_begun_is_taken_whole() -> None:
    def asked(turn_id: str, prompt: int, scope: str = "a") -> AdmittedTurn:
        turn = make_turn(turn_id, prompt_ids=(prompt,), scope=scope)
        return AdmittedTurn(turn, 1.0, (), 103.0)

    turns = [asked("1", 7), asked("2", 8), asked("3", 7), asked("4", 7, "b"), asked("5", 9)]
    whole = undivided(turns[:2], turns, largest=2)
    assert whole == turns[:3], "another user's is no part of it"
    assert undivided(turns, turns, largest=2) == turns
    assert undivided([], turns, largest=2) == []
    assert undivided(turns[:2], turns, largest=1) == turns[:2], "more than a batch may have"
