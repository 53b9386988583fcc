"""Which turns are trained on, and why the others are not."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from learner_records import judged, next_state, verdict
from turn_records import make_turn

from clawjax.config import (
    LearnerConfig,
    ObjectiveConfig,
    RewardConfig,
    StepAspect,
    StepScheme,
    StepsConfig,
)
from clawjax.learner.admission import Admit, Decision, Drop, Wait, admit
from clawjax.records import (
    DropReason,
    FinishReason,
    JudgedTurn,
    Message,
    NextState,
    NextStateKind,
    SamplingParams,
    ToolCall,
    Turn,
    TurnKind,
    Verdict,
    VersionRun,
)

LEARNER = LearnerConfig(max_staleness=2, max_tokens=16, length_buckets=[16])


BINARY = ObjectiveConfig()
OPD = ObjectiveConfig(name="opd", w_rl=0.0, w_opd=1.0)
COMBINED = ObjectiveConfig(name="combined", w_opd=1.0)


def decide(
    turn: JudgedTurn,
    *,
    version: int = 0,
    objective: ObjectiveConfig = BINARY,
    reward: RewardConfig | None = None,
    now: float = math.inf,
) -> Decision:
    return admit(
        turn,
        age=lambda sampled: version - sampled,
        learner=LEARNER,
        objective=objective,
        reward=RewardConfig() if reward is None else reward,
        now=now,
    )


def hint(*words: str, module: str = "quote") -> Verdict:
    return Verdict("t1", module, None, judged_at=104.0, hints=words)


def praised(turn: Turn) -> JudgedTurn:
    return judged(turn, [next_state()], [verdict(1.0)])


def test_a_scored_turn_is_admitted_with_its_score() -> None:
    decision = decide(praised(make_turn()))
    assert isinstance(decision, Admit)
    assert decision.admitted.score == 1.0
    assert decision.admitted.ready_at == 103.0


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        (make_turn(kind=TurnKind.SIDE), DropReason.SIDE),
        (make_turn(finish_reason=FinishReason.CANCELLED), DropReason.CANCELLED),
        (make_turn(response_ids=()), DropReason.EMPTY_RESPONSE),
        (make_turn(sampler_logprobs=()), DropReason.NO_LOGPROBS),
        (make_turn(sampling=SamplingParams(8, temperature=1e-4)), DropReason.NEARLY_GREEDY),
        (make_turn(sampler_logprobs=(-1.0,)), DropReason.LENGTH_MISMATCH),
        (make_turn(sampler_logprobs_t1=(-1.0,) * 3), DropReason.LENGTH_MISMATCH),
        (make_turn(token_versions=(VersionRun(0, 1),)), DropReason.LENGTH_MISMATCH),
        (make_turn(prompt_ids=()), DropReason.LENGTH_MISMATCH),
        (make_turn(response_ids=(4,) * 14), DropReason.TOO_LONG),
    ],
)
def test_an_unfit_turn_is_dropped_for_its_reason_whatever_it_earned(
    turn: Turn, reason: DropReason
) -> None:
    assert decide(praised(turn)) == Drop(reason)


def test_a_turn_without_logprobs_at_temperature_1_is_as_good() -> None:
    assert isinstance(decide(praised(make_turn(sampler_logprobs_t1=()))), Admit)


def test_a_turn_that_just_fits_is_admitted_whole() -> None:
    turn = make_turn(response_ids=(4,) * 13)
    decision = decide(praised(turn))
    assert isinstance(decision, Admit)
    assert decision.admitted.turn is turn


def test_age_counts_from_the_oldest_token() -> None:
    turn = make_turn(token_versions=(VersionRun(3, 1), VersionRun(5, 1)))
    assert isinstance(decide(praised(turn), version=5), Admit)
    assert decide(praised(turn), version=6) == Drop(DropReason.STALE)


def test_age_is_what_it_is_told_and_not_a_difference_of_numbers() -> None:
    def decide_at(age: int) -> Decision:
        return admit(
            praised(make_turn()),
            age=lambda sampled: age,
            learner=LEARNER,
            objective=BINARY,
            reward=RewardConfig(),
        )

    assert isinstance(decide_at(2), Admit)
    assert decide_at(3) == Drop(DropReason.STALE)


def test_no_next_state_waits_until_it_is_stale() -> None:
    turn = judged()
    assert decide(turn) == Wait()
    assert decide(turn, version=3) == Drop(DropReason.STALE)


def test_a_next_state_waits_for_its_verdict() -> None:
    assert decide(judged(None, [next_state()])) == Wait()


def test_abstentions_only_are_dropped_and_never_a_zero() -> None:
    turn = judged(None, [next_state()], [verdict(None), verdict(None, module="rules")])
    assert decide(turn) == Drop(DropReason.ABSTAINED)


def test_where_a_module_without_a_say_gave_a_score_all_others_abstained() -> None:
    """`no_signal` is of what was in a batch, and recalled with it."""
    observed = RewardConfig(modules=["next_state", "rules"], weights={"rules": 0.0})
    turn = judged(None, [next_state()], [verdict(None), verdict(1.0, module="rules")])
    assert decide(turn, reward=observed) == Drop(DropReason.ABSTAINED)
    assert isinstance(decide(turn), Admit)


def test_a_score_of_zero_is_a_score() -> None:
    decision = decide(judged(None, [next_state()], [verdict(0.0), verdict(None, module="rules")]))
    assert isinstance(decision, Admit)
    assert decision.admitted.score == 0.0


def test_a_closed_session_on_which_no_module_had_a_say_is_dropped() -> None:
    closed = next_state(NextStateKind.SESSION_CLOSED)
    assert decide(judged(None, [closed])) == Wait()
    turn = judged(None, [closed], [verdict(None, module="none")])
    assert decide(turn) == Drop(DropReason.NO_NEXT_STATE)
    turn = judged(None, [next_state(), closed], [verdict(None)])
    assert decide(turn) == Drop(DropReason.ABSTAINED)


def test_a_closed_session_that_a_rule_judged_is_trained_on() -> None:
    closed = next_state(NextStateKind.SESSION_CLOSED, arrived_at=999.0)
    assert isinstance(decide(judged(None, [closed], [verdict(-1.0, module="rules")])), Admit)


def test_explicit_feedback_is_waited_for_and_overrules() -> None:
    states = [next_state(), next_state(NextStateKind.FEEDBACK, score=-1.0)]
    opinion = verdict(1.0)
    assert decide(judged(None, states, [opinion], unjudged=states[1:])) == Wait()
    decision = decide(judged(None, states, [opinion, verdict(-1.0, module="feedback")]))
    assert isinstance(decision, Admit)
    assert decision.admitted.score == -1.0


def test_feedback_alone_ends_no_turn_that_it_says_nothing_about() -> None:
    words = next_state(NextStateKind.FEEDBACK)
    unread = [verdict(None, module="feedback"), verdict(None, module="quote")]
    assert decide(judged(None, [words], unread)) == Wait()
    thumb = next_state(NextStateKind.FEEDBACK, score=-1.0)
    rated = judged(None, [thumb], [verdict(-1.0, module="feedback")])
    assert decide(rated, objective=OPD) == Wait()
    complained = rated._replace(
        next_states=(thumb, next_state()), verdicts=(*rated.verdicts, hint("too long"))
    )
    assert isinstance(decide(complained, objective=OPD), Admit)
    closed = next_state(NextStateKind.SESSION_CLOSED)
    assert decide(judged(None, [words, closed], unread)) == Drop(DropReason.ABSTAINED)


def test_a_turn_is_not_dropped_while_something_that_came_after_it_is_being_judged() -> None:
    states = [next_state(NextStateKind.FEEDBACK), next_state()]
    unread = [verdict(None, module="feedback")]
    assert decide(judged(None, states, unread, unjudged=states[1:])) == Wait()
    assert decide(judged(None, states, unread)) == Drop(DropReason.ABSTAINED)


@pytest.mark.parametrize(
    ("kind", "calls", "is_awaited"),
    [
        (NextStateKind.USER, 0, True),
        (NextStateKind.TOOL, 2, True),
        (NextStateKind.TOOL, 1, False),
        (NextStateKind.SESSION_CLOSED, 0, False),
    ],
)
def test_an_answer_that_says_nothing_may_be_gone_on_with_for_a_while(
    kind: NextStateKind, calls: int, is_awaited: bool
) -> None:
    called = Message("assistant", "", tuple(ToolCall(f"c{n}", "ls", "{}") for n in range(calls)))
    said = Message("tool" if kind is NextStateKind.TOOL else "user", "one moment")
    states = [NextState("t1", kind, 102.0, (said,))]
    turn = judged(make_turn(reply=called), states, [verdict(None)])

    def decide_at(now: float) -> Decision:
        return admit(
            turn,
            age=lambda sampled: 0,
            learner=LEARNER,
            objective=BINARY,
            reward=RewardConfig(),
            now=now,
        )

    assert (decide_at(103.0) == Wait()) is is_awaited
    assert isinstance(decide_at(102.0 + LEARNER.max_wait_s), Drop)
    assert isinstance(decide_at(-1000.0), Drop)


@pytest.mark.parametrize(
    ("objective", "thumb"), [(BINARY, None), (OPD, -1.0)], ids=["words unread", "no use for scores"]
)
def test_feedback_that_says_nothing_ends_no_answer_that_may_be_gone_on_with(
    objective: ObjectiveConfig, thumb: float | None
) -> None:
    states = [next_state(), next_state(NextStateKind.FEEDBACK, score=thumb, arrived_at=103.0)]
    said = [verdict(None), verdict(thumb, module="feedback")]
    turn = judged(None, states, said)
    assert decide(turn, objective=objective, now=104.0) == Wait()
    later = decide(turn, objective=objective, now=102.0 + LEARNER.max_wait_s)
    assert isinstance(later, Drop)


def test_a_rating_that_the_judges_passed_while_nobody_took_ratings_counts_as_given() -> None:
    states = [next_state(), next_state(NextStateKind.FEEDBACK, score=-1.0, arrived_at=107.0)]
    decision = decide(judged(None, states, [verdict(1.0), verdict(None, module="none")]))
    assert isinstance(decision, Admit)
    assert (decision.admitted.score, decision.admitted.ready_at) == (-1.0, 107.0)


def test_feedback_in_words_is_not_waited_for() -> None:
    states = [next_state(), next_state(NextStateKind.FEEDBACK)]
    assert isinstance(decide(judged(None, states, [verdict(1.0)])), Admit)


def test_feedback_is_not_waited_for_without_the_module() -> None:
    states = [next_state(NextStateKind.FEEDBACK, score=-1.0)]
    decision = admit(
        judged(None, states, [verdict(1.0)]),
        age=lambda sampled: 0,
        learner=LEARNER,
        objective=BINARY,
        reward=RewardConfig(modules=["next_state"]),
    )
    assert isinstance(decision, Admit)


@given(
    lengths=st.tuples(*(st.integers(0, 20) for _ in range(4))),
    version=st.integers(0, 6),
)
def test_whatever_is_admitted_is_aligned_fresh_and_fits(
    lengths: tuple[int, int, int, int], version: int
) -> None:
    prompt, response, logprobs, versions = lengths
    turn = dataclasses.replace(
        make_turn(),
        prompt_ids=(1,) * prompt,
        response_ids=(2,) * response,
        sampler_logprobs=(-1.0,) * logprobs,
        sampler_logprobs_t1=(-1.0,) * logprobs,
        token_versions=(VersionRun(1, versions),),
    )
    is_fit = prompt > 0 and 0 < response == logprobs == versions and prompt + response <= 16
    assert isinstance(decide(praised(turn), version=version), Admit) == (
        is_fit and version - 1 <= 2
    )


@pytest.mark.parametrize(
    ("objective", "score", "hints"),
    [
        (BINARY, -1.0, ()),
        (OPD, -1.0, ("too long", "no lists")),  # tells how content the user is
        (COMBINED, -1.0, ("too long", "no lists")),
    ],
)
def test_an_objective_is_given_the_signals_it_learns_from(objective, score, hints) -> None:
    said = [verdict(-1.0), hint("too long"), hint("no lists", "too long", module="own")]
    decision = decide(judged(make_turn(), [next_state()], said), objective=objective)
    assert isinstance(decision, Admit)
    assert (decision.admitted.score, decision.admitted.hints) == (score, hints)
    assert decision.admitted.ready_at == 104.0


def test_a_hint_without_a_score_is_enough_where_hints_are_learnt_from() -> None:
    turn = judged(make_turn(), [next_state()], [verdict(None), hint("too long")])
    assert isinstance(decide(turn, objective=COMBINED), Admit)
    assert decide(turn) == Drop(DropReason.ABSTAINED)


def test_praise_says_nothing_to_an_objective_that_learns_from_hints_alone() -> None:
    assert decide(praised(make_turn()), objective=OPD) == Drop(DropReason.NO_SIGNAL)


def test_a_step_is_admitted_for_its_labels_which_people_correct() -> None:
    labels = tuple(1.0 if aspect is StepAspect.PROGRESS else None for aspect in StepAspect)
    people = tuple(-1.0 if aspect is StepAspect.PROGRESS else None for aspect in StepAspect)
    process = dataclasses.replace(verdict(1.0, module="process"), step_labels=labels)
    review = dataclasses.replace(verdict(None, module="human"), step_labels=people)
    stepwise = ObjectiveConfig(steps=StepsConfig(scheme=StepScheme.separate))
    turn = judged(None, [next_state(NextStateKind.TOOL)], [process])
    decision = decide(turn, objective=stepwise)
    assert isinstance(decision, Admit)
    assert (decision.admitted.score, decision.admitted.process) == (None, 1.0)
    decision = decide(judged(None, turn.next_states, [process, review]), objective=stepwise)
    assert isinstance(decision, Admit)
    assert decision.admitted.process == -1.0
    decision = decide(turn)
    assert isinstance(decision, Admit)
    assert (decision.admitted.score, decision.admitted.process) == (1.0, None)
