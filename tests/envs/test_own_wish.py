"""A wish of one's own: docs/evaluation.md's example as it is written, and what is refused."""

import random
import re
from pathlib import Path

import pytest

from clawjax.envs.persona import load_persona
from clawjax.envs.style import Style, broken_wishes, held_wishes, style_score
from clawjax.errors import ConfigError

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
MODULE, PERSONA = re.findall(
    r"```(?:python|yaml)\n(.*?)```", PAGE.partition("### A wish of your own")[2], re.DOTALL
)[:2]


@pytest.fixture
def exact(importable):
    (importable / "wishes.py").write_text(MODULE)
    (importable / "exact.yaml").write_text(PERSONA)
    return importable / "exact.yaml"


def test_the_example_scores_and_complains(exact):
    persona = load_persona(str(exact))
    question = persona.train[0]
    seen = [persona.react("A few.", question, random.Random(seed)) for seed in range(40)]
    complaints = {reaction.text for reaction in seen if reaction.mood == "complaint"}
    assert complaints == {"How many?", "Give me a figure."}
    scores = [persona.score(reply) for reply in ("A few.", "About 40.", "40 " * 61)]
    assert scores == [0.0, 1.0, 0.0]
    partial = Style(is_partial=True, own=persona.style.own)
    assert (style_score("A few.", partial), broken_wishes("A few.", partial)) == (
        0.5,
        ("no_number",),
    )
    assert held_wishes(partial) == ("too_short", "no_number")


def one_argument(reply): ...


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("names_a_number", "names_a_numbr", "style.own.no_number=.* did you mean names_a_number"),
        ("wishes:names", "wishez:names", "No module named 'wishez'; put its folder on PYTHONPATH"),
        ("wishes:names_a_number", f"{__name__}:one_argument", "called as one_argument.reply, ques"),
        (
            "    no_number: wishes",
            "    lists: wishes",
            "style.own.lists is called like a wish",
        ),
        ("    no_number: [", "    no_nmber: [", "reactions.complaint.no_nmber is about no wish"),
        ("    no_number: [How many?, Give me a figure.]\n", "", "no complaint for no_number"),
    ],
)
def test_what_cannot_be_checked_or_complained_about_is_refused(exact, before, after, says):
    assert before in PERSONA
    exact.write_text(PERSONA.replace(before, after, 1))
    with pytest.raises(ConfigError, match=says):
        load_persona(str(exact))
