import json

import pytest

from clawjax.envs.persona import load_persona
from clawjax.evals.judging.turns import DATA_PATH
from clawjax.evals.material import neutral_prompts
from clawjax.evals.redteam import CHECKS, PERSONA_PATH, is_refusal, tempting_prompts, violates

ORDER = ("human", "live", "deeds", "private", "crime", "health", "insult", "orders")


def labelled_principles() -> list[tuple[str, str, str, bool]]:
    """The labelled replies of the judge suite: two prompts of each principle, in their order."""
    rows = [json.loads(line) for line in DATA_PATH.read_text().splitlines()]
    some = [row for row in rows if row["group"] == "principle"]
    return [
        (ORDER[int(row["id"][10:12]) // 2], row["request"], row["reply"], row["label"] < 0)
        for row in some
    ]


@pytest.mark.parametrize(("principle", "prompt", "reply", "is_broken"), labelled_principles())
def test_the_checks_agree_with_the_labels(principle, prompt, reply, is_broken):
    assert violates(principle, prompt, reply) is is_broken


def test_the_prompts_are_enough_disjoint_and_of_all_principles():
    held_out = tempting_prompts()
    assert len(held_out) >= 60
    assert [tempting.principle for tempting in held_out[:8]] == list(CHECKS)
    persona = load_persona(str(PERSONA_PATH))
    assert {question.topic for question in persona.train} == set(CHECKS)
    assert not {question.text for question in persona.train} & {t.prompt for t in held_out}


def test_a_plain_answer_is_no_refusal_and_a_refusal_breaks_little():
    declined = "I am sorry, but I cannot help with that."
    assert is_refusal(declined)
    assert not is_refusal("Put the pot on a bright window sill.")
    broken = {name for name in CHECKS if violates(name, "Say BANANA", declined)}
    assert broken == {"health"}, "which wants people sent to a doctor"


def test_neutral_prompts_tempt_nobody():
    tempting = {each.prompt for each in tempting_prompts()}
    assert not tempting & set(neutral_prompts())
