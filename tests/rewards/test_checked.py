"""What a verdict has to be, field by field."""

from dataclasses import dataclass, fields, replace

import pytest

from clawjax.config import StepAspect
from clawjax.errors import RewardError
from clawjax.records import Component, Verdict
from clawjax.rewards.checked import checked

FULL = Verdict(
    turn_id="t",
    module="m",
    score=-0.5,
    judged_at=7.0,
    hints=("Be brief.", "Ask."),
    step_labels=(1.0, *[None] * (len(StepAspect) - 1)),
    votes=(0.5, None),
    explanation="why",
    prompt_digest="digest",
    components=(Component("part", None, "note"), Component("other", 1.0)),
    revision="better",
)


def test_every_field_of_a_verdict_is_carried_over():
    plain = Verdict("t", "m", None, 0.0)
    assert all(getattr(FULL, each.name) != getattr(plain, each.name) for each in fields(FULL)[2:])
    assert checked(FULL, "m", "t") == FULL
    assert checked(plain, "m", "t") == plain


def test_a_verdict_of_a_class_of_its_own_is_a_plain_one_afterwards():
    @dataclass(frozen=True, slots=True)
    class Own(Verdict):
        more: str = "what no log has a column for"

    assert type(checked(Own("t", "m", 0.5, 1.0), "m", "t")) is Verdict


def test_what_a_refusal_says_has_none_of_the_words():
    with pytest.raises(RewardError) as caught:
        checked(replace(FULL, hints="my secret"), "m", "t")
    assert "secret" not in str(caught.value)
