"""The simulated loop obeys what can be worked out by hand."""

import dataclasses

import pytest

from clawjax.plan.balance import Rates, simulate

RATES = Rates(
    decode_tokens_per_s=1000.0,
    stream_tokens_per_s=100.0,
    train_tokens_per_s=10_000.0,
    settle_s=0.0,
    deliver_s=1.0,
    downtime_s=0.0,
    conversations=40,
    think_s=2.0,
    prompt_tokens=100.0,
    reply_tokens=100.0,
    batch_turns=8,
    max_staleness=4,
    slots=64,
)


def changed(**settings):
    return dataclasses.replace(RATES, **settings)


def test_equal_settings_give_equal_results():
    assert simulate(RATES, seconds=200) == simulate(RATES, seconds=200)
    assert simulate(RATES, seconds=200) != simulate(RATES, seconds=200, seed=1)


@pytest.mark.parametrize("rates", [RATES, changed(train_tokens_per_s=300.0), changed(slots=2)])
def test_every_turn_is_trained_dropped_or_waits(rates):
    sampled, trained, dropped, waiting = simulate(rates, seconds=500).counts
    assert sampled > 100
    assert 0 <= sampled - trained - dropped - waiting == 0


def test_a_busy_engine_gives_its_tokens_per_second():
    balance = simulate(changed(conversations=200), seconds=2000)
    assert balance.engine_busy > 0.99
    assert balance.sampled_per_s == pytest.approx(1000 / 100, rel=0.05)


def test_few_conversations_wait_for_their_users():
    """A reply of 100 tokens at 100 per second and 2 s of thought: a turn each 3 s."""
    balance = simulate(changed(conversations=3), seconds=3000)
    assert balance.sampled_per_s == pytest.approx(3 / 3.0, rel=0.05)


def test_slots_bound_what_is_under_way():
    balance = simulate(changed(slots=2, conversations=200), seconds=2000)
    assert balance.sampled_per_s == pytest.approx(2 * 100 / 100, rel=0.05)


def test_a_learner_that_is_too_slow_drops_what_is_stale_and_never_trains_it():
    slow = changed(train_tokens_per_s=400.0, conversations=200)
    balance = simulate(slow, seconds=4000)
    assert balance.learner_busy > 0.95
    assert balance.trained_per_s == pytest.approx(400 / 200, rel=0.05)
    assert balance.dropped > 0.5
    assert balance.staleness_p95 <= slow.max_staleness


def test_a_fast_learner_trains_everything_and_staleness_grows_with_the_way_to_the_engine():
    near = simulate(changed(deliver_s=0.1, batch_turns=80), seconds=1000)
    far = simulate(changed(deliver_s=40.0, batch_turns=80, max_staleness=50), seconds=1000)
    assert near.dropped == 0.0
    assert near.trained_per_s == pytest.approx(near.sampled_per_s, rel=0.02)
    assert far.staleness > 2 * near.staleness


def test_a_step_begins_when_the_last_one_is_written():
    """8 turns of 200 tokens at 400 per second, 4 s, and 6 s of writing: 8 turns each 10 s."""
    writing = changed(train_tokens_per_s=400.0, settle_s=6.0, conversations=200)
    balance = simulate(writing, seconds=4000)
    assert balance.learner_busy > 0.95
    assert balance.trained_per_s == pytest.approx(8 / 10, rel=0.05)


def test_standing_still_costs_the_engine_its_share():
    still = simulate(changed(downtime_s=0.4, conversations=200), seconds=1000)
    going = simulate(changed(conversations=200), seconds=1000)
    assert still.sampled_per_s < going.sampled_per_s
    assert still.engine_busy < 0.9


@pytest.mark.parametrize("bad", [{"decode_tokens_per_s": 0}, {"batch_turns": 0}, {"slots": 0}])
def test_what_never_ends_is_refused(bad):
    with pytest.raises(ValueError, match="use "):
        changed(**bad)
    with pytest.raises(ValueError, match="use more than 0"):
        simulate(RATES, seconds=0)
