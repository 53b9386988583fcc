"""Whose turns a batch is made of: caps bind while others wait, and nobody waits for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from learner_records import make_sample
from learner_runs import Run, config
from policies import as_sampled
from turn_records import make_turn

from clawjax.config import LearnerConfig
from clawjax.learner.batch_caps import capped_batch
from clawjax.learner.credit import AdmittedTurn
from clawjax.records import Sample


def waiting(*owners: str) -> list[AdmittedTurn]:
    """Turns in order of arrival; `a1` is session 1 of key a."""
    return [
        AdmittedTurn(
            make_turn(f"t{index}", scope=owner[0], session_id=owner[1:]), 1.0, (), float(index)
        )
        for index, owner in enumerate(owners)
    ]


def keys_of(turns: Sequence[AdmittedTurn]) -> dict[str, int]:
    return dict(Counter(admitted.turn.scope for admitted in turns))


def test_a_key_that_is_alone_has_the_whole_batch() -> None:
    ready = waiting(*["a1"] * 9)
    chosen = capped_batch(ready, config(batch_turns=8, max_key_share=0.25, max_session_share=0.25))
    assert chosen == ready[:8]


def test_a_noisy_key_has_no_more_than_its_share_while_others_wait() -> None:
    ready = waiting(*["n1"] * 20, *["a1"] * 3, *["b1"] * 2)
    chosen = capped_batch(ready, config(batch_turns=16, max_key_share=0.5))
    assert keys_of(chosen) == {"n": 5, "a": 3, "b": 2}
    assert [admitted.ready_at for admitted in chosen] == [0, 1, 2, 3, 4, 20, 21, 22, 23, 24]


def test_nobody_has_less_than_an_even_split() -> None:
    ready = waiting(*["a1"] * 20, *["b1"] * 20)
    chosen = capped_batch(ready, config(batch_turns=16, max_key_share=0.1))
    assert keys_of(chosen) == {"a": 8, "b": 8}


def test_a_step_has_the_turns_that_it_needs_where_others_have_few() -> None:
    ready = waiting(*["n1"] * 20, "a1")
    chosen = capped_batch(ready, config(batch_turns=16, min_turns=4, max_key_share=0.5))
    assert keys_of(chosen) == {"n": 3, "a": 1}


def test_a_batch_that_cannot_be_split_evenly_is_made_smaller() -> None:
    ready = waiting(*["n1"] * 20, *["a1"] * 2)
    chosen = capped_batch(ready, config(batch_turns=5, min_turns=2, max_key_share=0.5))
    assert keys_of(chosen) == {"n": 2, "a": 2}


def test_by_default_a_session_has_half_of_a_batch_while_others_of_its_key_wait() -> None:
    ready = waiting(*["a1"] * 20, *["a2"] * 5)
    batch = LearnerConfig(batch_turns=16)
    chosen = capped_batch(ready, batch)
    assert Counter(admitted.turn.session_id for admitted in chosen) == {"1": 5, "2": 5}
    alone = [admitted for admitted in ready if admitted not in chosen]
    assert capped_batch(alone, batch) == alone[:16], "who is alone is not capped"


def test_a_session_is_capped_within_its_key() -> None:
    ready = waiting(*["a1"] * 20, *["a2"] * 3, *["b1"] * 6)
    chosen = capped_batch(
        ready, config(batch_turns=12, max_key_share=0.75, max_session_share=0.34, min_turns=2)
    )
    sessions = Counter(a.turn.scope + a.turn.session_id for a in chosen)
    assert sessions == {"a1": 3, "a2": 3, "b1": 3}
    uncapped = capped_batch(
        ready, config(batch_turns=12, max_key_share=None, max_session_share=None)
    )
    assert keys_of(uncapped) == {"a": 12}


def settings() -> st.SearchStrategy[LearnerConfig]:
    shares = st.none() | st.floats(0.01, 1.0)
    return st.builds(
        lambda size, least, key, session: config(
            batch_turns=size,
            min_turns=min(least, size),
            max_key_share=key,
            max_session_share=session,
        ),
        st.integers(1, 12),
        st.integers(1, 12),
        shares,
        shares,
    )


@given(st.lists(st.sampled_from(["a1", "a2", "b1", "c1", "c2"]), max_size=40), settings())
def test_every_turn_has_its_batch_and_no_batch_is_over_a_cap(
    owners: list[str], learner: LearnerConfig
) -> None:
    ready = waiting(*owners)
    while ready:
        chosen = capped_batch(ready, learner)
        assert min(learner.min_turns, len(ready)) <= len(chosen) <= learner.batch_turns
        assert [a.ready_at for a in chosen] == sorted(a.ready_at for a in chosen)
        present = len(keys_of(ready))
        share = max(learner.max_key_share or 1.0, 1 / present)
        if len(chosen) > learner.min_turns and present > 1:
            assert max(keys_of(chosen).values()) <= max(share * len(chosen), 1)
        ready = [admitted for admitted in ready if admitted not in chosen]


def record(run: Run, scope: str, first: int, count: int) -> None:
    samples: list[Sample] = [
        make_sample(f"{scope}{index}", 4, 6, seed=first + index, vocab=200)
        for index in range(count)
    ]
    for sample in as_sampled(run.model, run.model.params, samples, version=0):
        run.record(sample, 1.0, scope=scope)


def test_the_surplus_of_a_noisy_key_waits_for_the_next_batches_and_grows_stale(run: Run) -> None:
    learner = run.learner(batch_turns=6, min_turns=2, max_key_share=0.5, max_staleness=1)
    record(run, "noisy", 1, 12)
    record(run, "quiet", 20, 2)
    run.now += 1000
    assert learner.sweep()
    assert Counter(name[:5] for name in run.trained()) == {"noisy": 2, "quiet": 2}
    assert run.monitor.entries[-1][1]["train/largest_key_share"] == 0.5
    assert run.log.counts().pending == 10, "nothing is dropped for being over a cap"
    assert learner.sweep(), "alone, the noisy key has the next batch"
    assert Counter(run.trained().values()) == {1: 4, 2: 6}
    assert not learner.sweep()
    assert run.log.counts().dropped == {"stale": 4}


def test_nobodys_backlog_hides_what_others_said(run: Run) -> None:
    record(run, "noisy", 1, 8)
    record(run, "quiet", 20, 2)
    seen = run.log.judged(limit=4)
    assert [judged.turn.scope for judged in seen] == ["noisy", "noisy", "quiet", "quiet"]
    assert [judged.seq for judged in seen] == sorted(judged.seq for judged in seen)
