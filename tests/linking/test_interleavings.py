"""Whatever order conversations come in and however clients respell them, the links are the same."""

import random
from dataclasses import replace

from _conversations import Truth, interleaved, play, speakers
from hypothesis import given, settings
from hypothesis import strategies as st

from clawjax.records import LinkKind, Message

SEEDS = st.integers(0, 2**32)


def turn_id(found) -> str | None:
    return None if found is None else found.node.turn_id


def links(truths: list[Truth]) -> dict[str, tuple]:
    return {
        truth.serial: (placed.kind, placed.reason, turn_id(placed.parent), turn_id(placed.of))
        for truth, placed in play(truths)
    }


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_every_continuation_is_linked_and_none_wrongly(seed):
    for truth, placed in play(interleaved(seed, count=4, each=8)):
        assert turn_id(placed.parent) == truth.parent, truth.serial
        assert turn_id(placed.of) == truth.of
        assert placed.judged.kind is truth.kind
        said = placed.reaction and tuple(sorted(m.content for m in placed.reaction.messages))
        assert said == (truth.words and tuple(sorted(truth.words)))


@settings(deadline=None, max_examples=25)
@given(SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_other_conversations_changes_nothing(seed, rng: random.Random):
    queues = [list(speaker.requests(6)) for speaker in speakers(seed, 3)]
    one_by_one = [truth for queue in queues for truth in queue]
    mixed: list[Truth] = []
    while any(queues):
        mixed.append(rng.choice([queue for queue in queues if queue]).pop(0))
    assert links(mixed) == links(one_by_one)


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_other_credentials_and_clients_link_to_nothing(seed):
    truths = list(speakers(seed, 1)[0].requests(8))
    strangers = [
        replace(truth, asked=replace(truth.asked, scope="other"), serial=f"other{truth.serial}")
        for truth in truths
    ]
    for truth, placed in play([*truths, *strangers]):
        if truth.asked.scope == "other":
            assert not (turn_id(placed.parent) or "other").startswith("0.")
            assert not (turn_id(placed.of) or "other").startswith("0.")


@settings(deadline=None, max_examples=25)
@given(SEEDS, st.text(min_size=1))
def test_a_foreign_reply_links_to_nothing(seed, words):
    truths = interleaved(seed, count=3, each=4)
    history = (Message("user", words), Message("assistant", "foreign"), Message("user", "b"))
    foreign = replace(truths[-1], asked=replace(truths[-1].asked, messages=history))
    *_, (_, placed) = play([*truths, foreign])
    assert (placed.parent, placed.of, placed.reaction) == (None, None, None)
    assert placed.kind in (LinkKind.NEW, LinkKind.RESET)
