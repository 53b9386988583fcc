"""What a turn log says about replies."""

import dataclasses

import pytest
from test_cli import link, turn

from clawjax.data.from_log import praised, preferred, rated_of
from clawjax.data.preferences import Provenance
from clawjax.linking.linker import EDITED
from clawjax.records import LinkKind, Message, NextState, NextStateKind, TurnKind, Verdict
from clawjax.testing import temporary_log


@pytest.fixture
def log(tmp_path):
    log = temporary_log(tmp_path)

    def said(turn_id: str, text: str, **changes):
        return dataclasses.replace(turn(turn_id), reply=Message("assistant", text), **changes)

    edited = Message("assistant", "Better.")
    log.append(
        said("t1", "Bad."),
        link("t1", LinkKind.NEW),
        Verdict("t1", "llm_judge", -0.5, 101.0),
        said("t2", "Good."),
        link("t2", LinkKind.RESAMPLE, "t1"),
        Verdict("t2", "llm_judge", 0.5, 101.0),
        NextState("t2", NextStateKind.FEEDBACK, 102.0, score=1.0),
        said("t3", "Labelled."),
        Verdict("t3", "next_state", 1.0, 101.0),
        Verdict("t3", "human", -1.0, 103.0),
        NextState("t3", NextStateKind.FEEDBACK, 102.0, score=1.0),
        said("side", "Side.", kind=TurnKind.SIDE),
        Verdict("side", "llm_judge", 1.0, 101.0),
        said("other", "Other.", scope="bob"),
        Verdict("other", "llm_judge", 1.0, 101.0),
        said("t4", "On.", messages=(Message("user", "a secret"), edited, Message("user", "Go on"))),
        dataclasses.replace(link("t4", LinkKind.BRANCH, "t1"), reason=EDITED, at=1),
    )
    yield log
    log.close()


def test_whoever_said_most_on_purpose_gives_the_score(log):
    found = {rated.source: (rated.score, rated.provenance) for rated in rated_of(log)}
    assert found == {
        "t1": (-0.5, Provenance.AI),
        "t2": (1.0, Provenance.LIVE),
        "t3": (-1.0, Provenance.HUMAN),
        "other": (1.0, Provenance.AI),
    }


def test_edits_and_scores_that_differ_are_preferences(log):
    pairs = [(p.chosen.content, p.rejected.content, p.user, p.margin) for p in preferred(log)]
    assert pairs == [
        ("Better.", "Bad.", "local", None),
        ("Bad.", "Labelled.", "local", 0.5),
        ("Good.", "Bad.", "local", 1.5),
        ("Good.", "Labelled.", "local", 2.0),
    ]


def test_praise_and_what_users_wrote_themselves_are_examples(log):
    assert [(r.reply.content, r.user) for r in praised(log, min_score=0.5)] == [
        ("Good.", "local"),
        ("Other.", "bob"),
        ("Better.", "local"),
    ]


def test_revisions_of_a_judge_are_preferences_and_examples(log):
    log.append(Verdict("t3", "constitution", -1.0, 104.0, revision="Kinder."))
    log.append(Verdict("side", "constitution", -1.0, 104.0, revision="Never."))
    pairs = [(p.chosen.content, p.rejected.content, p.provenance) for p in preferred(log)]
    assert ("Kinder.", "Labelled.", Provenance.AI) in pairs
    assert "Never." not in {chosen for chosen, _, _ in pairs}
    assert ("Kinder.", "local") in [(r.reply.content, r.user) for r in praised(log)]


@pytest.mark.parametrize("praise", ["thumb", "label", "click"])
def test_what_people_praised_is_not_rejected_for_a_revision(log, praise):
    liked = dataclasses.replace(turn("liked"), reply=Message("assistant", "Liked."), scope="cleo")
    log.append(liked, Verdict("liked", "constitution", -1.0, 104.0, revision="Kinder."))
    if praise == "thumb":
        log.append(NextState("liked", NextStateKind.FEEDBACK, 102.0, score=1.0))
    elif praise == "label":
        log.append(NextState("liked", NextStateKind.FEEDBACK, 102.0, score=-1.0))
        log.append(Verdict("liked", "human", 1.0, 103.0))
    else:
        log.append(Verdict("liked", "feedback", 1.0, 103.0))
    assert [p for p in preferred(log) if p.user == "cleo"] == []
    assert [r.reply.content for r in praised(log) if r.user == "cleo"] == ["Liked."]
