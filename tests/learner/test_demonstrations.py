"""What a user praised shows the teacher how other replies should have been."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from learner_records import make_sample
from policies import LENGTH, as_sampled, logprobs
from turn_records import make_turn

from clawjax.config import LearnerConfig, OpdConfig, OpdForm
from clawjax.errors import ConfigError
from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.decoder import StackedDecoder, stack
from clawjax.learner.demonstrations import demonstrations
from clawjax.learner.guidance import guided
from clawjax.learner.replay_buffer import ReplayBuffer, ScoredTurn
from clawjax.learner.scoring import Model, Scorer
from clawjax.learner.teacher import HintTeacher, Lesson, _inserted, preceded
from clawjax.models.load import LoadedModel
from clawjax.records import Message, Sample, TeacherSays, ToolCall, Turn

LEARNER = LearnerConfig(max_tokens=LENGTH, length_buckets=[LENGTH], micro_batch_tokens=2 * LENGTH)


def praised(turn_id: str, **changes: Any) -> Turn:
    """A turn whose question is made of its own number, as is the reply."""
    defaults = {
        "messages": (Message("user", f"question {turn_id}"),),
        "reply": Message("assistant", f"reply {turn_id}"),
        "scope": "anna",
    }
    return make_turn(turn_id, **defaults | changes)


def liked(*turns: Turn) -> list[ScoredTurn]:
    return [ScoredTurn(turn, 1.0) for turn in turns]


def said(messages: Sequence[Message]) -> list[str]:
    return [message.content for message in messages]


def test_examples_are_other_exchanges() -> None:
    memory = liked(praised("1"), praised("2"))
    assert said(demonstrations(memory, praised("1"), 5)) == ["question 2", "reply 2"]
    assert [m.role for m in demonstrations(memory, praised("9"), 1)] == ["user", "assistant"]
    assert demonstrations(memory[:1], praised("1"), 5) == ()
    assert demonstrations(memory, praised("9"), 0) == ()


def test_the_newest_are_kept_once_each_and_chosen_the_same_way_each_time() -> None:
    turns = [praised(str(index)) for index in range(40)]
    memory = liked(*turns)
    shown = said(demonstrations(memory, praised("x"), 100))
    assert sorted(shown) == sorted(
        f"{what} {n}" for n in range(24, 40) for what in ("question", "reply")
    )
    two = demonstrations(memory, praised("x"), 2)
    assert two == demonstrations(memory, praised("x"), 2)
    assert len(two) == 4
    assert len({demonstrations(memory, praised(str(n)), 2) for n in range(100, 120)}) > 5


def test_what_is_long_or_no_answer_to_a_person_is_no_example() -> None:
    sample = make_sample("long", 4, 200, seed=1, vocab=200)
    call = ToolCall("call", "search", "{}")
    memory = liked(
        praised("long", response_ids=sample.response_ids),
        praised("tool", reply=Message("assistant", tool_calls=(call,))),
        praised("after", messages=(Message("user", "q"), Message("tool", "found"))),
    )
    assert demonstrations(memory, praised("x"), 5) == ()


def test_what_is_no_example_takes_no_place_from_one() -> None:
    reply = make_sample("long", 4, 200, seed=1, vocab=200).response_ids
    memory = liked(praised("1"), *(praised(f"long {n}", response_ids=reply) for n in range(30)))
    assert said(demonstrations(memory, praised("x"), 1)) == ["question 1", "reply 1"]


def test_each_user_is_remembered_once_by_what_they_said() -> None:
    known = ReplayBuffer()
    scored = [("1", 1.0), ("2", 0.3), ("3", -1.0), ("5", 0.0), ("1", 1.0)]
    known.add(ScoredTurn(praised(name), score) for name, score in scored)
    known.add([ScoredTurn(praised("6", scope="bert"), 1.0)])
    assert [one.turn.turn_id for one in known.praised("anna")] == ["1", "2"]
    assert [one.turn.turn_id for one in known.praised("anna", above=0.5)] == ["1"]
    assert [one.turn.turn_id for one in known.blamed("anna")] == ["3"]
    assert known.praised("nobody") == []
    known.add(ScoredTurn(praised(f"n{n}"), 1.0) for n in range(500))
    assert 16 <= len(known.praised("anna")) < 200


def test_examples_stand_behind_the_system_message() -> None:
    conversation = (Message("system", "s"), Message("user", "q"))
    examples = (Message("user", "a"), Message("assistant", "b"))
    assert said(preceded(conversation, examples)) == ["s", "a", "b", "q"]
    assert said(preceded(conversation[1:], examples)) == ["a", "b", "q"]
    assert preceded(conversation, ()) == conversation


def test_what_was_really_read_stays_in_the_teachers_prompt() -> None:
    plain, told = (1, 60, 3, 4), (1, 60, 8, 9, 60, 3, 4)
    assert _inserted((1, 60, 50, 51), plain, told) == (1, 60, 8, 9, 60, 50, 51)
    assert _inserted(plain, plain, told) == told
    assert _inserted(plain, plain, plain) == plain
    assert _inserted((2, 60, 3, 4), plain, told) == told  # rendered otherwise


def render(messages: Sequence[Message], tools_json: str | None) -> tuple[int, ...]:
    """Token ids are what the messages say."""
    return tuple(int(word) for message in messages for word in message.content.split())


@pytest.fixture(scope="module")
def model(tiny_model: LoadedModel) -> Model:
    return Model(StackedDecoder(tiny_model.architecture), stack(tiny_model.params))


@pytest.fixture
def samples(tiny_model: LoadedModel) -> list[Sample]:
    drawn = [make_sample(f"t{n}", 3, 4, seed=n + 1, vocab=200, temperature=0.8) for n in range(2)]
    return as_sampled(tiny_model, tiny_model.params, drawn, version=0)


def admitted(sample: Sample, score: float | None) -> AdmittedTurn:
    turn = make_turn(
        sample.turn_id,
        prompt_ids=sample.prompt_ids,
        response_ids=sample.response_ids,
        sampler_logprobs=sample.sampler_logprobs,
        messages=(Message("user", " ".join(map(str, sample.prompt_ids))),),
        reply=Message("assistant", " ".join(map(str, sample.response_ids))),
        sampling=dataclasses.replace(make_turn("x").sampling, temperature=sample.temperature),
    )
    return AdmittedTurn(turn, score, (), ready_at=0.0)


def teaching(memory: ReplayBuffer, **changes: Any) -> HintTeacher:
    config = OpdConfig(hints=False, demonstrations=1, top_k=8, **changes)
    return HintTeacher(Scorer(LEARNER), render, config, max_tokens=LENGTH, replay_buffer=memory)


def taught(
    teacher: HintTeacher, memory: ReplayBuffer, batch: Sequence[AdmittedTurn], model: Model
) -> Lesson:
    """What the teacher says once the batch is known, as the learner has it."""
    memory.add(ScoredTurn(one.turn, one.score) for one in batch if one.score is not None)
    return teacher.teach(batch, teacher=model, student=model)


def test_the_reply_is_scored_behind_a_praised_exchange(
    tiny_model: LoadedModel, model: Model, samples: list[Sample]
) -> None:
    liked, other = samples
    memory = ReplayBuffer()
    teacher = teaching(memory)
    nothing_yet = teacher.teach([admitted(other, -1.0)], teacher=model, student=model)
    assert nothing_yet.says == {}
    assert nothing_yet.skipped == {"no_demonstration": 1}
    batch = [admitted(liked, 1.0), admitted(other, -1.0)]
    lesson = taught(teacher, memory, batch, model)
    assert lesson.skipped == {"no_demonstration": 1}  # the praised one has no other before it
    behind = dataclasses.replace(
        other, prompt_ids=liked.prompt_ids + liked.response_ids + other.prompt_ids
    )
    expected = logprobs(tiny_model, tiny_model.params, [behind])[0]
    np.testing.assert_allclose(lesson.says["t1"].logprobs, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(expected - other.sampler_logprobs).max() > 1e-3  # the example changes something


def test_what_was_praised_can_be_left_as_it_is(model: Model, samples: list[Sample]) -> None:
    memory = ReplayBuffer()
    teacher = teaching(memory, corrects_praised=False)
    batch = [admitted(samples[0], 1.0), admitted(samples[1], 1.0)]
    lesson = taught(teacher, memory, batch, model)
    assert (lesson.says, lesson.skipped) == ({}, {"praised": 2})
    batch[1] = admitted(samples[1], -1.0)  # the same reply, not liked: taught by the other
    lesson = teacher.teach(batch, teacher=model, student=model)
    assert (set(lesson.says), lesson.skipped) == ({"t1"}, {"praised": 1})


def test_doubtful_praise_is_no_demonstration(model: Model, samples: list[Sample]) -> None:
    other = admitted(samples[1], -1.0)
    for score, is_taught in ((0.7, False), (0.71, True)):
        memory = ReplayBuffer()
        teacher = teaching(memory, praised_above=0.7)
        lesson = taught(teacher, memory, [admitted(samples[0], score), other], model)
        assert ("t1" in lesson.says) is is_taught


def test_guidance_leads_from_what_was_blamed_to_what_was_liked(
    tiny_model: LoadedModel, model: Model
) -> None:
    drawn = [make_sample(f"t{n}", 3, 4, seed=n + 1, vocab=200, temperature=0.8) for n in range(3)]
    liked, blamed, other = as_sampled(tiny_model, tiny_model.params, drawn, version=0)
    batch = [admitted(liked, 1.0), admitted(blamed, -1.0), admitted(other, None)]
    says = {}
    for contrasts in (False, True):
        memory = ReplayBuffer()
        teacher = teaching(memory, form=OpdForm.top_k, guidance=1.0, contrasts=contrasts)
        says[contrasts] = taught(teacher, memory, batch, model).says["t2"]
    ids = says[True].support_ids
    assert ids == says[False].support_ids  # the student's own

    def behind(*examples: Sample) -> np.ndarray:
        read = [token for one in examples for token in (*one.prompt_ids, *one.response_ids)]
        sample = dataclasses.replace(
            other,
            prompt_ids=(*read, *other.prompt_ids),
            teacher=TeacherSays((0.0,) * len(ids), ids, tuple((0.0,) * 8 for _ in ids)),
        )
        return Scorer(LEARNER).score(model, [sample])[0].support_logprobs

    told = behind(liked)
    for contrasts, untold in ((False, behind()), (True, behind(blamed))):
        expected = guided(told, untold, 1.0)
        np.testing.assert_allclose(says[contrasts].support_logprobs, expected, rtol=1e-4, atol=1e-4)


def test_contrasts_need_something_to_contrast() -> None:
    for missing in ({"guidance": 0.0}, {"demonstrations": 0}):
        with pytest.raises(ConfigError, match="contrasts=true needs"):
            OpdConfig(**{"demonstrations": 1, "guidance": 1.0, "contrasts": True} | missing)


def test_a_teacher_that_knows_nothing_more_is_refused() -> None:
    with pytest.raises(ConfigError, match="leave the teacher with nothing"):
        OpdConfig(hints=False)
