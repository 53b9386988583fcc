"""The teacher reads the hint, scores the reply as it was sampled, and never invents a number."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learner_records import make_sample
from policies import LENGTH, as_sampled, logprobs, scores, served_params
from turn_records import make_turn

from clawjax.config import (
    GatewayConfig,
    HintChoice,
    LearnerConfig,
    LoraConfig,
    ModelConfig,
    ObjectiveConfig,
    OpdConfig,
    OpdForm,
    Support,
)
from clawjax.errors import WireError
from clawjax.learner.batching import make_batch
from clawjax.learner.build import _build_teacher, _Shared
from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.decoder import StackedDecoder, stack
from clawjax.learner.replay_buffer import ReplayBuffer, ScoredTurn
from clawjax.learner.scoring import Model, Scorer
from clawjax.learner.step import TrainStep
from clawjax.learner.teacher import HintTeacher, _spliced, hinted
from clawjax.models.load import LoadedModel, load_tokenizer
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.records import Message, Sample, SamplingParams, ToolCall, Turn
from clawjax.rendering.prompts import prompts_of

LEARNER = LearnerConfig(max_tokens=LENGTH, length_buckets=[LENGTH], micro_batch_tokens=2 * LENGTH)
LORA = LoraConfig(rank=4, alpha=8.0)
PROMPTS = {"short": (9, 8, 7), "longer hint": (5, 6, 7, 8, 9, 10), "same": None}
"""What the stand-in for a chat template makes of each hint; None leaves the prompt alone."""


@pytest.fixture(scope="module")
def model(tiny_model: LoadedModel) -> Model:
    return Model(StackedDecoder(tiny_model.architecture), stack(tiny_model.params))


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(LEARNER)


def turn_of(sample: Sample, *hints: str) -> AdmittedTurn:
    turn = make_turn(
        sample.turn_id,
        prompt_ids=sample.prompt_ids,
        response_ids=sample.response_ids,
        sampler_logprobs=sample.sampler_logprobs,
        messages=(Message("user", " ".join(map(str, sample.prompt_ids))),),
        sampling=SamplingParams(max_response_tokens=64, temperature=sample.temperature),
    )
    return AdmittedTurn(turn, None, hints, ready_at=0.0)


def render(messages: Sequence[Message], tools_json: str | None) -> tuple[int, ...]:
    """The prompt ids are written into the message; the hint decides what becomes of them."""
    asked, _, hint = messages[-1].content.partition("\n\n[user's hint / instruction]\n")
    if hint == "rejected":
        raise WireError("the template rejects this")
    if not hint:
        return tuple(map(int, asked.split()))
    if hint == "endless":
        return (3,) * LENGTH
    return PROMPTS[hint] or tuple(map(int, asked.split()))


def teacher(scorer: Scorer, **changes: Any) -> HintTeacher:
    return HintTeacher(scorer, render, OpdConfig(top_k=8, **changes), max_tokens=LENGTH)


@pytest.fixture
def sample(tiny_model: LoadedModel) -> Sample:
    drawn = make_sample("t1", 6, 5, seed=3, vocab=200, temperature=0.8)
    return as_sampled(tiny_model, tiny_model.params, [drawn], version=0)[0]


def under(tiny_model: LoadedModel, sample: Sample, prompt: tuple[int, ...]) -> np.ndarray:
    moved = dataclasses.replace(sample, prompt_ids=prompt)
    return logprobs(tiny_model, tiny_model.params, [moved])[0]


def test_a_hint_goes_into_the_last_user_message() -> None:
    messages = (Message("user", "a"), Message("user", "b"), Message("assistant", "c"))
    told = hinted(messages, "be brief")
    assert told is not None
    assert [m.content for m in told] == ["a", "b\n\n[user's hint / instruction]\nbe brief", "c"]
    assert hinted((Message("system", "a"),), "be brief") is None


def test_what_was_really_read_stays_in_the_teachers_prompt() -> None:
    read, plain, told = (1, 50, 51, 3, 4), (1, 60, 3, 4), (1, 60, 3, 9, 4)
    assert _spliced(read, plain, told) == (1, 50, 51, 3, 9, 4)
    assert _spliced(plain, plain, told) == told
    assert _spliced(read, plain, plain) == read
    assert _spliced(read, plain, (*plain, 7)) == (*read, 7)
    assert _spliced((1, 50, 5), plain, told) == told  # rendered otherwise


def test_a_hint_that_changes_nothing_leaves_the_prompt_that_was_really_read(
    tiny_model: LoadedModel, model: Model, scorer: Scorer, sample: Sample
) -> None:
    """Rendering a conversation again need not give the tokens that its replies were drawn as."""
    admitted = turn_of(sample, "same")
    again = Message("user", " ".join(map(str, (*sample.prompt_ids[:2], 9, *sample.prompt_ids[4:]))))
    turn = dataclasses.replace(admitted.turn, messages=(again,))
    lesson = teacher(scorer).teach([admitted._replace(turn=turn)], teacher=model, student=model)
    np.testing.assert_allclose(
        lesson.says["t1"].logprobs, under(tiny_model, sample, sample.prompt_ids), atol=1e-4
    )


def test_the_reply_is_scored_under_the_hinted_prompt(
    tiny_model: LoadedModel, model: Model, scorer: Scorer, sample: Sample
) -> None:
    lesson = teacher(scorer).teach([turn_of(sample, "short")], teacher=model, student=model)
    expected = under(tiny_model, sample, PROMPTS["short"])
    np.testing.assert_allclose(lesson.says["t1"].logprobs, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(expected - sample.sampler_logprobs).max() > 1e-3  # the hint changes something
    assert lesson.skipped == {}


def test_a_hint_that_says_nothing_leaves_teacher_and_student_of_one_mind(
    model: Model, scorer: Scorer, sample: Sample
) -> None:
    lesson = teacher(scorer).teach([turn_of(sample, "same")], teacher=model, student=model)
    says = np.array(lesson.says["t1"].logprobs)
    np.testing.assert_allclose(says, sample.sampler_logprobs, atol=1e-4)


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        (HintChoice.first, "short"),
        (HintChoice.longest, "longer hint"),
        (HintChoice.overlap, "same"),
    ],
)
def test_the_choice_of_the_hint(
    tiny_model: LoadedModel,
    model: Model,
    scorer: Scorer,
    sample: Sample,
    choice: HintChoice,
    chosen: str,
) -> None:
    taught = teacher(scorer, hint_choice=choice)
    admitted = turn_of(sample, "short", "longer hint", "same")
    lesson = taught.teach([admitted], teacher=model, student=model)
    expected = under(tiny_model, sample, PROMPTS[chosen] or sample.prompt_ids)
    np.testing.assert_allclose(lesson.says["t1"].logprobs, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("hints", "reason"),
    [((), "no_hint"), (("rejected",), "no_prompt"), (("endless",), "too_long")],
)
def test_without_a_usable_hint_there_is_no_teacher_for_a_reason(
    model: Model, scorer: Scorer, sample: Sample, hints: tuple[str, ...], reason: str
) -> None:
    lesson = teacher(scorer).teach([turn_of(sample, *hints)], teacher=model, student=model)
    assert (lesson.says, lesson.skipped) == ({}, {reason: 1})


def test_a_hint_is_not_put_into_an_example_where_the_user_said_nothing(
    model: Model, scorer: Scorer
) -> None:
    admitted = turn_of(make_sample("t1", 6, 5, seed=3, vocab=200), "short")
    turn = dataclasses.replace(admitted.turn, messages=(Message("system", "3 4"),))
    liked = ReplayBuffer()
    liked.add([ScoredTurn(make_turn("t2", request="7 8", reply="5 6"), 1.0)])
    config = OpdConfig(top_k=8, demonstrations=1)
    one = HintTeacher(scorer, render, config, max_tokens=LENGTH, replay_buffer=liked)
    lesson = one.teach([admitted._replace(turn=turn)], teacher=model, student=model)
    assert (lesson.says, lesson.skipped) == ({}, {"no_prompt": 1})


def test_a_teacher_that_computes_nonsense_is_not_believed(
    tiny_model: LoadedModel, model: Model, scorer: Scorer, sample: Sample
) -> None:
    broken = dict(model.params) | {"norm": {"weight": model.params["norm"]["weight"] * np.nan}}
    lesson = teacher(scorer).teach(
        [turn_of(sample, "short")], teacher=Model(model.decoder, broken), student=model
    )
    assert (lesson.says, lesson.skipped) == ({}, {"not_finite": 1})


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("form", list(OpdForm))
def test_a_step_leads_to_what_the_hinted_teacher_says(
    tiny_model: LoadedModel, scorer: Scorer, sample: Sample, tmp_path: Path, form: OpdForm, method
) -> None:
    opd = OpdConfig(form=form, top_k=8)
    objective = ObjectiveConfig(name="opd", w_rl=0.0, w_opd=1.0, kl_coef=0.0, opd=opd)
    config = dataclasses.replace(LEARNER, method=method, learning_rate=3e-3, lora=LORA)
    step = TrainStep(tiny_model, objective=objective, learner=config, failed_dir=tmp_path)
    state = step.init(0)
    reader = HintTeacher(scorer, render, opd, max_tokens=LENGTH)
    lesson = reader.teach(
        [turn_of(sample, "short")], teacher=step.teacher(state), student=step.policy(state)
    )
    taught = dataclasses.replace(sample, credit=None, teacher=lesson.says["t1"])
    sizes = {"length_buckets": [LENGTH], "micro_batch_tokens": 2 * LENGTH}
    batch = make_batch([taught], version=0, support=opd.support_size, **sizes)
    state = step.run(state, [batch]).state
    params = served_params(tiny_model, state, LORA if method == "lora" else None)
    if form is OpdForm.token:
        moved = logprobs(tiny_model, params, [sample])[0] - np.array(sample.sampler_logprobs)
        wanted = under(tiny_model, sample, PROMPTS["short"]) - np.array(sample.sampler_logprobs)
        assert moved @ wanted > 0
        return
    told = distribution(tiny_model, sample, PROMPTS["short"])
    moved = dataclasses.replace(tiny_model, params=params)
    before, after = (
        np.sum(np.exp(q) * (q - told)) for q in (
            distribution(each, sample, sample.prompt_ids) for each in (tiny_model, moved)
        )
    )  # fmt: skip
    assert after < before


@pytest.mark.parametrize("support", list(Support))
def test_the_support_is_whose_it_is_said_to_be(
    tiny_model: LoadedModel, model: Model, scorer: Scorer, sample: Sample, support: Support
) -> None:
    taught = teacher(scorer, form=OpdForm.top_k, support=support, hint_choice=HintChoice.first)
    lesson = taught.teach([turn_of(sample, "short")], teacher=model, student=model)
    says = lesson.says["t1"]
    by_teacher = distribution(tiny_model, sample, PROMPTS["short"])
    by_owner = by_teacher
    if support is Support.student:
        by_owner = distribution(tiny_model, sample, sample.prompt_ids)
    expected_ids = np.argsort(-by_owner, axis=-1)[:, :8]
    assert [set(row) for row in says.support_ids] == [set(row) for row in expected_ids.tolist()]
    np.testing.assert_allclose(
        says.support_logprobs,
        np.take_along_axis(by_teacher, np.array(says.support_ids), axis=-1),
        rtol=1e-4,
        atol=1e-4,
    )


def distribution(tiny_model: LoadedModel, sample: Sample, prompt: tuple[int, ...]) -> np.ndarray:
    """Log-probs of the whole vocabulary in the place of each response token, `[R, V]`."""
    ids = np.zeros((1, LENGTH), np.int32)
    whole = (*prompt, *sample.response_ids)
    ids[0, : len(whole)] = whole
    at = slice(len(prompt) - 1, len(whole) - 1)
    logits = scores(tiny_model, tiny_model.params, ids)[0, at] / sample.temperature
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


TOOLS = '[{"type": "function", "function": {"name": "ls", "description": "lists files"}}]'
QUESTION, FRENCH = Message("user", "What is in /?"), "Answer in French."
CALLED = Message("assistant", "", tool_calls=(ToolCall("c1", "ls", '{"path": "/"}'),))
WRITTEN = '<tool_call>\n{"name": "ls", "arguments": {"path": "/"}}\n</tool_call>'


@pytest.fixture(scope="module")
def smollm2() -> ChatTokenizer:
    """Its template knows no tools."""
    return load_tokenizer(ModelConfig(path="smollm2"))[0]


def served(tokenizer: ChatTokenizer, *messages: Message, tools_json: str | None = TOOLS) -> Turn:
    prompt_ids = prompts_of(tokenizer, GatewayConfig()).ids(messages, tools_json)
    return make_turn("t9", messages=messages, tools_json=tools_json, prompt_ids=prompt_ids)


def taught_by(tokenizer: ChatTokenizer, turn: Turn, hint: str | None, scorer: Scorer) -> str:
    """What the teacher of a run reads, where one exchange was praised before."""
    praised = make_turn(
        "t0", messages=(Message("user", "Say hi"),), reply=Message("assistant", "Hi")
    )
    replay_buffer = ReplayBuffer()
    replay_buffer.add([ScoredTurn(praised, 1.0)])
    objective = ObjectiveConfig(name="combined", w_opd=1.0, opd=OpdConfig(demonstrations=1))
    nobodys: Any = None  # the teacher is made of neither
    shared = _Shared(nobodys, objective, LEARNER, nobodys, scorer, replay_buffer)
    built = _build_teacher(shared, prompts_of(tokenizer, GatewayConfig()))
    assert built is not None
    examples = () if hint else built.examples(turn)
    prompt_ids = built._prompt(turn, hint, examples)
    assert prompt_ids is not None
    return tokenizer.decode(prompt_ids, keep_special=True)


def test_a_teacher_of_demonstrations_is_told_of_tools_as_the_policy_is(
    smollm2: ChatTokenizer, scorer: Scorer
) -> None:
    turn = served(smollm2, QUESTION)
    read = smollm2.decode(turn.prompt_ids, keep_special=True)
    told = taught_by(smollm2, turn, None, scorer)
    assert "lists files" in read
    example = "<|im_start|>user\nSay hi<|im_end|>\n<|im_start|>assistant\nHi<|im_end|>\n"
    assert example in told
    assert told.replace(example, "") == read


def test_a_hint_before_a_tools_result_leaves_call_and_result_as_they_were_read(
    smollm2: ChatTokenizer, scorer: Scorer
) -> None:
    turn = served(smollm2, QUESTION, CALLED, Message("tool", "a.txt", tool_call_id="c1"))
    read = smollm2.decode(turn.prompt_ids, keep_special=True)
    told = taught_by(smollm2, turn, FRENCH, scorer)
    assert WRITTEN in read
    assert told.replace(f"\n\n[user's hint / instruction]\n{FRENCH}", "") == read


@pytest.mark.parametrize("hint", [FRENCH, None])
def test_the_teacher_goes_on_from_a_begun_reply(
    smollm2: ChatTokenizer, scorer: Scorer, hint: str | None
) -> None:
    turn = served(smollm2, QUESTION, Message("assistant", "Sure, here is"), tools_json=None)
    told = taught_by(smollm2, turn, hint, scorer)
    assert told.endswith("<|im_start|>assistant\nSure, here is")
    assert told.count("Sure, here is") == 1
    assert (hint or "Say hi") in told
