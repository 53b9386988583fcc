"""What is remembered, and what is forgotten first."""

from hypothesis import given, settings
from hypothesis import strategies as st

from clawjax.config import LinkingConfig
from clawjax.linking.linker import Linker
from clawjax.linking.reading import Asked, asked_for
from clawjax.linking.tree import SessionRef, Tree
from clawjax.records import Link, LinkKind, Origin

from .linking_records import said, turn_of, user

ASKED = Asked("local", Origin(), (user("a"),), None, 0.0)


def link_of(turn) -> Link:
    return Link(turn.turn_id, LinkKind.NEW, "", "", Origin())


def entry(turn_id, *, session="s", tokens=3, text="one"):
    return turn_of(turn_id, ASKED, said(text), session=session, prompt_ids=(1,) * tokens)


def is_known(linker: Linker, turn) -> bool:
    asked = asked_for(turn, link_of(turn))
    return (
        linker.place(
            Asked("local", Origin(), (*asked.messages, turn.reply, user("b")), None, 0.0)
        ).parent
        is not None
    )


def test_the_least_recently_used_session_is_forgotten_first():
    tree = Tree(max_turns=2)
    linker = Linker(tree, LinkingConfig())
    first, second, third = (entry(str(n), session=str(n), text=f"reply {n}") for n in range(3))
    linker.add(first, link_of(first))
    linker.add(second, link_of(second))
    tree.touch(SessionRef("local", "0"))
    assert [node.turn_id for node in linker.add(third, link_of(third)).forgotten] == ["1"]
    assert [is_known(linker, turn) for turn in (first, second, third)] == [True, False, True]


def test_the_first_turns_that_fit_are_told_beforehand():
    turns = [(str(number), 10) for number in range(9)]
    assert Tree(max_tokens=35).fitting(turns) == ["0", "1", "2"]
    assert Tree(max_turns=2).fitting(turns) == ["0", "1"]
    assert Tree(max_tokens=9).fitting(turns) == Tree().fitting([]) == []


def test_a_turn_that_is_removed_leaves_nothing():
    tree = Tree()
    turn = entry("1")
    Linker(tree, LinkingConfig()).add(turn, link_of(turn))
    tree.remove(tree.session(SessionRef("local", "s"))[0])
    assert tree == Tree(_added=1)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(1, 30)),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 10),
    st.integers(20, 200),
)
def test_memory_stays_bounded(entries, max_turns, max_tokens):
    tree = Tree(max_turns=max_turns, max_tokens=max_tokens)
    linker = Linker(tree, LinkingConfig())
    for number, (session, text, tokens) in enumerate(entries):
        turn = entry(str(number), session=str(session), tokens=tokens, text=str(text))
        linker.add(turn, link_of(turn))
        kept = [node for s in range(5) for node in tree.session(SessionRef("local", str(s)))]
        assert turn.turn_id in {node.turn_id for node in kept}
        assert len(kept) == len(tree) <= max_turns
        assert len(kept) == 1 or sum(node.weight for node in kept) <= max_tokens
        assert is_known(linker, turn)
