"""What a preference is, and what is refused as one."""

from dataclasses import replace

import pytest

from clawjax.data.preferences import Preference, Provenance, Rated, RowError, preferences_of
from clawjax.records import Message, ToolCall

PROMPT = (Message("user", "How far is the moon?"),)


def said(text: str) -> Message:
    return Message("assistant", text)


def rated(text: str, score: float, *, user: str = "ann") -> Rated:
    return Rated(PROMPT, said(text), score, Provenance.HUMAN, user=user, source=text)


def preference() -> Preference:
    return Preference(PROMPT, said("384,400 km."), said("Far."), Provenance.HUMAN)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"prompt": ()}, "no prompt"),
        ({"rejected": said("384,400 km.")}, "both replies are the same"),
        ({"chosen": Message("user", "384,400 km.")}, "not the assistant's"),
        ({"chosen": said("")}, "is empty"),
        ({"margin": 0.0}, "margin"),
        ({"margin": float("nan")}, "margin"),
    ],
)
def test_what_nobody_can_learn_from_is_refused(changes, fault):
    with pytest.raises(RowError, match=fault):
        replace(preference(), **changes)


def test_calls_that_differ_in_their_ids_only_are_the_same_reply():
    def calling(call_id: str) -> Message:
        return Message("assistant", tool_calls=(ToolCall(call_id, "look", "{}"),))

    with pytest.raises(RowError, match="both replies are the same"):
        replace(preference(), chosen=calling("a"), rejected=calling("b"))


def test_scores_outside_the_scale_are_refused():
    with pytest.raises(RowError, match="not between -1 and 1"):
        rated("Far.", 5.0)


def test_replies_to_a_prompt_that_is_asked_every_day_make_as_many_pairs_as_they_are_many():
    replies = [rated(f"reply {n}", (n % 7) / 7) for n in range(640)]
    pairs = preferences_of(replies)
    assert pairs == preferences_of(replies)
    assert len(pairs) < 640 * 64 / 2
    assert {p.chosen for p in pairs} | {p.rejected for p in pairs} == {r.reply for r in replies}


def test_rated_replies_make_pairs_where_their_scores_differ():
    replies = [rated("a", -1), rated("b", 0.5), rated("c", 0.5), rated("d", 1, user="bob")]
    pairs = preferences_of(replies)
    assert [(p.chosen.content, p.rejected.content, p.margin) for p in pairs] == [
        ("b", "a", 1.5),
        ("c", "a", 1.5),
    ]
    assert {pair.user for pair in pairs} == {"ann"}
    assert [reply.is_liked for reply in replies] == [False, True, True, True]
