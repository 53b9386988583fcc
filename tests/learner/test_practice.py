"""Answers that nobody asked for are the policy's own, and go where reactions point."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from learner_runs import LORA, Run, config
from policies import LENGTH
from turn_records import make_turn

from clawjax.config import (
    DriftConfig,
    EngineConfig,
    LearnerConfig,
    MeshConfig,
    ObjectiveConfig,
    PracticeConfig,
    RunConfig,
)
from clawjax.errors import ConfigError
from clawjax.learner.credit import AdmittedTurn
from clawjax.learner.formula import practice_formula
from clawjax.learner.loop import Learner
from clawjax.learner.practice import Practice, PracticeRound
from clawjax.learner.replay_buffer import ReplayBuffer, ScoredTurn
from clawjax.learner.sampler import Sampler
from clawjax.learner.scoring import Scorer
from clawjax.learner.step import StepResult, TrainStep
from clawjax.learner.style_features import STYLE_FEATURES
from clawjax.metrics.keys import unknown_keys
from clawjax.models.transformer import Params
from clawjax.protocols import GenerateRequest
from clawjax.records import DropReason, Sample, SamplingParams, Turn

ENGINE = EngineConfig(
    slots=4, prefill_chunk=16, live_buckets=[64], warm_up=False, compilation_cache=None
)
PRACTICE = PracticeConfig(rounds=12, prompts=8, samples=8, max_response_tokens=6, min_scored=8)
REPLY = SamplingParams(max_response_tokens=6, ignore_eos=True)


class Pupil:
    """A learner that practises for one user, who likes some tokens and not others."""

    def __init__(
        self, run: Run, practice: PracticeConfig = PRACTICE, *, context_length: int = 256
    ) -> None:
        model = replace(run.model, context_length=context_length)
        rng = np.random.default_rng(0)
        table = np.asarray(model.params["embed_tokens"]["embedding"])
        self.rng, self.is_liked = rng, table @ rng.normal(size=table.shape[1]) > 0
        self.replay_buffer = ReplayBuffer()
        self.sampler = Sampler(model, ENGINE, LORA)
        self.practice = Practice(
            practice,
            self.sampler,
            Scorer(config()),
            run.train_step.base,
            self.replay_buffer,
            num_layers=model.architecture.num_layers,
            max_tokens=LENGTH,
            negative_weight=1.0,
            text_of=model.tokenizer.decode,
        )
        self.learner: Learner = run.learner()
        maker = self.learner.maker
        maker.reader.replay_buffer = maker.replay.replay_buffer = self.replay_buffer
        maker.updater.practice = self.practice

    @property
    def trainable(self) -> Params:
        return self.learner.versions.state.trainable

    def hears(self, count: int, scope: str = "local", said: str = "") -> None:
        """Praise of replies in the tokens they like, complaints about those in the others."""
        for number in range(count):
            is_good = number % 2 == 0
            ids = tuple(self.rng.choice(np.flatnonzero(self.is_liked == is_good), 16).tolist())
            prompt = tuple(self.rng.integers(5, 100, size=4).tolist())
            turn = make_turn(
                f"{scope}{number}", scope=scope, prompt_ids=prompt, response_ids=ids, sampling=REPLY
            )
            self.replay_buffer.add([ScoredTurn(turn, 1.0 if is_good else -1.0, said)])

    def sample_round(
        self, scopes: list[str], trainable: Params, *, version: int, seed: int
    ) -> PracticeRound:
        """New answers for these users."""
        preferences = self.practice.preferences(scopes)
        return self.practice.sample_round(preferences, trainable, version=version, seed=seed)

    def liked(self) -> float:
        """Share of these tokens in the policy's own replies."""
        asked = [
            GenerateRequest(str(n), tuple(range(5, 9 + n % 3)), REPLY, seed=n) for n in range(64)
        ]
        drawn = self.sampler.draw(self.trainable, asked)
        return float(np.mean([self.is_liked[list(reply.token_ids)] for reply in drawn]))


def test_practice_leads_where_reactions_point_within_one_version(run: Run) -> None:
    pupil = Pupil(run)
    pupil.hears(120)
    before = pupil.liked()
    run.record_many(2)
    run.record_many(2, first=2, score=-1.0)
    assert pupil.learner.sweep()
    metrics = run.monitor.entries[-1][1]
    assert metrics["train/practised"] >= 12 * 60
    answers = f"L_practice {metrics['train/practised']:.0f} answers for 1 user in 12 updates"
    assert run.monitor.texts[-1]["train/terms"] == f"L_rl 4 turns; {answers}"
    assert run.monitor.texts[-1]["train/objective"].endswith(f"; {practice_formula(run.objective)}")
    assert pupil.liked() > before + 0.1
    assert pupil.learner.version == 1
    assert run.lineage() == [(1, 0)]
    assert run.trained() == {f"t0{n}": 1 for n in range(4)}, "what was practised is no turn"


def test_an_update_of_practice_tells_of_itself(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pupil, updates, taken = Pupil(run, replace(PRACTICE, rounds=2)), [], TrainStep.run

    def noted(self: TrainStep, *args: Any) -> StepResult:
        result = taken(self, *args)
        updates.append(result.metrics)
        return result

    monkeypatch.setattr(TrainStep, "run", noted)
    pupil.hears(40)
    run.record_many(2)
    run.record_many(2, first=2, score=-1.0)
    assert pupil.learner.sweep()
    of_turns, _, of_answers = updates
    metrics = run.monitor.entries[-1][1]
    for name in ("loss", "grad_norm", "clip_fraction", "ess"):
        assert metrics[f"train/practice_{name}"] == of_answers[f"train/{name}"]
        assert metrics[f"train/{name}"] == of_turns[f"train/{name}"]
    assert metrics["train/practice_grad_norm"] > 0.0
    assert unknown_keys(metrics) == ()


def test_a_taste_heeds_what_reactions_name(run: Run) -> None:
    pupil = Pupil(run)
    pupil.hears(20, "anna", "Stop saying sorry.")
    pupil.hears(20, "ben")
    preferences = pupil.practice.preferences(["anna", "ben"])
    place = [*STYLE_FEATURES].index("apologises")
    assert preferences["anna"].model.feature_weights[-1][place] > 0.8
    assert preferences["ben"].model.feature_weights[-1][place] == pytest.approx(
        1 / len(STYLE_FEATURES)
    )


def test_what_a_turn_is_answered_with_is_remembered(run: Run) -> None:
    run.objective = replace(run.objective, replay_praised=1)
    pupil = Pupil(run)
    run.record_many(4)
    pupil.learner.sweep()
    assert [one.user_text for one in pupil.replay_buffer.scored("local")] == ["thanks"] * 4


def test_answers_are_the_policys_own(run: Run) -> None:
    pupil = Pupil(run)
    pupil.hears(40)
    state = pupil.learner.versions.state
    found = pupil.sample_round(["local"], state.trainable, version=0, seed=1)
    [*scored] = Scorer(config()).score(run.train_step.policy(state), found.samples)
    for sample, one in zip(found.samples, scored, strict=True):
        np.testing.assert_allclose(sample.sampler_logprobs, one.logprobs, atol=1e-4)
        assert set(sample.token_versions) == {0}
        assert len(sample.response_ids) == 6
    groups: dict[tuple[int, ...], list[float]] = {}
    for sample in found.samples:
        assert sample.credit is not None
        groups.setdefault(sample.prompt_ids, []).append(sample.credit[0])
    assert all(sum(credits) == pytest.approx(0.0, abs=1e-6) for credits in groups.values())
    again = pupil.sample_round(["local"], state.trainable, version=0, seed=1)
    assert again == found


def test_an_answer_is_no_longer_than_what_is_learnt_from(run: Run) -> None:
    pupil = Pupil(run)
    pupil.hears(40)
    known = pupil.replay_buffer.scored("local")
    long = [tuple(range(5, 5 + LENGTH - room)) for room in (1, 3)]
    turns = [replace(one.turn, prompt_ids=long[n % 2]) for n, one in enumerate(known)]
    preferences = pupil.practice.preferences(["local"])
    pupil.replay_buffer.remove({turn.turn_id for turn in turns})
    pupil.replay_buffer.add(ScoredTurn(turn, 1.0) for turn in turns)
    found = pupil.practice.sample_round(preferences, pupil.trainable, version=0, seed=1)
    assert found.mean_score is not None
    assert {len(s.prompt_ids) + len(s.response_ids) for s in found.samples} == {LENGTH}


def test_questions_that_a_shorter_context_has_no_room_for_are_not_asked_again(run: Run) -> None:
    context = LENGTH - 8
    pupil = Pupil(run, context_length=context)
    pupil.hears(40)
    preferences = pupil.practice.preferences(["local"])
    known = pupil.replay_buffer.scored("local")
    lengths = (context + 4, context, context - 1, context - 3)
    asked = [tuple(range(5, 5 + lengths[n % 4])) for n in range(len(known))]
    pupil.replay_buffer.remove({one.turn.turn_id for one in known})
    pupil.replay_buffer.add(
        one._replace(turn=replace(one.turn, prompt_ids=prompt))
        for one, prompt in zip(known, asked, strict=True)
    )
    trainable = pupil.trainable
    found = pupil.practice.sample_round(preferences, trainable, version=0, seed=1)
    assert {len(s.prompt_ids) + len(s.response_ids) for s in found.samples} == {context}
    pupil.replay_buffer.remove({one.turn.turn_id for n, one in enumerate(known) if n % 4 > 1})
    assert pupil.practice.sample_round(preferences, trainable, version=0, seed=1).mean_score is None


def test_what_was_made_of_a_reply_is_forgotten_with_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pupil, read, states = Pupil(run), [], Scorer.states

    def noted(self: Scorer, params: Params, samples: list[Sample], layers: Any) -> Any:
        read.extend(sample.turn_id for sample in samples)
        return states(self, params, samples, layers)

    monkeypatch.setattr(Scorer, "states", noted)
    for scope in ("anna", "ben"):
        pupil.hears(16, scope)
        pupil.practice.preferences([scope])
    known = pupil.replay_buffer.scored("anna")
    names = [one.turn.turn_id for one in known]
    pupil.practice.preferences(["anna"])
    assert read.count(names[0]) == 1, "read once as long as it is remembered"
    pupil.replay_buffer.remove(set(names))
    pupil.practice.preferences(["ben"])
    pupil.replay_buffer.add(known)
    pupil.practice.preferences(["anna"])
    assert read[-16:] == names


def test_of_the_answers_to_a_question_the_best_and_the_worst_are_learnt_from(run: Run) -> None:
    pupil = Pupil(run, replace(PRACTICE, kept=2))
    pupil.hears(40)
    trainable = pupil.trainable
    found = pupil.sample_round(["local"], trainable, version=0, seed=1)
    credits: dict[tuple[int, ...], list[float]] = {}
    for sample in found.samples:
        assert sample.credit is not None
        credits.setdefault(sample.prompt_ids, []).append(sample.credit[0])
    assert all(len(both) == 2 and sum(both) == pytest.approx(0.0) for both in credits.values())
    every = Pupil(run)
    every.replay_buffer.add(pupil.replay_buffer.scored("local"))
    drawn = every.sample_round(["local"], trainable, version=0, seed=1)
    assert {sample.response_ids for sample in found.samples} <= {
        sample.response_ids for sample in drawn.samples
    }
    for prompt in credits:
        asked = [sample for sample in drawn.samples if sample.prompt_ids == prompt]
        ends = [end(asked, key=_credit).response_ids for end in (min, max)]
        kept = [sample for sample in found.samples if sample.prompt_ids == prompt]
        kept = sorted(kept, key=_credit)
        assert [sample.response_ids for sample in kept] == ends


def test_how_far_a_round_leads_is_said_by_its_reach_and_not_by_shrunken_predictions(
    run: Run,
) -> None:
    pupil = Pupil(run)
    pupil.hears(40)
    found = pupil.sample_round(["local"], pupil.trainable, version=0, seed=1)
    credits = np.array([sample.credit[0] for sample in found.samples if sample.credit])
    assert np.sqrt(np.mean(credits**2)) == pytest.approx(1.0, abs=0.1)


def test_who_said_too_little_or_one_thing_only_is_not_practised_for(run: Run) -> None:
    pupil = Pupil(run)
    pupil.hears(7)
    trainable = pupil.trainable
    assert pupil.sample_round(["local"], trainable, version=0, seed=0).samples == ()
    pupil.hears(20, scope="other")
    assert pupil.sample_round(["nobody"], trainable, version=0, seed=0).mean_score is None
    asked = pupil.sample_round(["other", "local"], trainable, version=0, seed=0)
    theirs = {one.turn.prompt_ids for one in pupil.replay_buffer.scored("other")}
    assert {sample.prompt_ids for sample in asked.samples} <= theirs
    grumpy = ReplayBuffer()
    grumpy.add(ScoredTurn(turn, -1.0) for turn in _turns(20))
    pupil.practice._replay_buffer = grumpy
    assert pupil.sample_round(["local"], trainable, version=0, seed=0).samples == ()
    strict = Pupil(run, replace(PRACTICE, min_foresight=0.999))
    strict.hears(40)
    assert strict.sample_round(["local"], trainable, version=0, seed=0).samples == ()


def test_who_is_new_is_listened_to_before_anything_is_learnt(run: Run) -> None:
    practice = replace(PRACTICE, rounds=1, samples=4, listen=10)
    run.objective = replace(run.objective, practice=practice)
    pupil = Pupil(run, practice)
    run.record_many(2)
    run.record_many(2, first=2, score=-1.0)
    assert not pupil.learner.sweep()
    assert run.monitor.entries[-1][1]["train/rested"] == 1.0
    assert pupil.learner.version == 0
    reasons = [outcome.drop_reason for outcome in run.log.outcomes().values()]
    assert reasons == [DropReason.LISTENED] * 4
    assert len(pupil.replay_buffer.scored("local")) == 4, "remembered all the same"
    pupil.hears(40)
    run.record_many(2, first=4)
    run.record_many(2, first=6, score=-1.0)
    assert pupil.learner.sweep()
    assert run.trained() == {f"t0{n}": 1 for n in range(4, 8)}


def test_who_cannot_be_foreseen_is_not_listened_to_for_ever(run: Run) -> None:
    practice = replace(PRACTICE, rounds=1, listen=4)
    run.objective = replace(run.objective, practice=practice)
    pupil = Pupil(run, practice)
    run.record_many(2)
    run.record_many(2, first=2, score=-1.0)
    assert pupil.learner.sweep()
    metrics = run.monitor.entries[-1][1]
    assert metrics["train/practised"] == 0.0
    assert "train/practice_loss" not in metrics
    terms = run.monitor.texts[-1]["train/terms"]
    assert terms == "L_rl 4 turns; L_practice inactive: nobody's taste is known"
    assert run.trained() == {f"t0{n}": 1 for n in range(4)}


def _credit(sample: Sample) -> float:
    assert sample.credit is not None
    return sample.credit[0]


def _turns(count: int) -> list[Turn]:
    return [make_turn(f"g{number}") for number in range(count)]


def test_practice_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"objective\.practice\.rounds=1 adds to the term of"):
        ObjectiveConfig(name="opd", w_rl=0.0, w_opd=1.0, practice=PracticeConfig(rounds=1))
    with pytest.raises(
        ConfigError, match=r"practice\.kept=1 of objective\.practice\.samples=4: use 2"
    ):
        PracticeConfig(kept=1)
    with pytest.raises(ConfigError, match=r"practice\.min_foresight=1 is no correlation"):
        PracticeConfig(min_foresight=1)
    with pytest.raises(ConfigError, match=r"practice\.full_foresight=0 is no correlation"):
        PracticeConfig(full_foresight=0)
    with pytest.raises(ConfigError, match=r"practice\.blind_share=0 is no share"):
        PracticeConfig(blind_share=0)
    with pytest.raises(ConfigError, match=r"practice\.max_reply_kl=inf is no distance"):
        PracticeConfig(max_reply_kl=float("inf"))
    practising = ObjectiveConfig(practice=PracticeConfig(rounds=1))
    with pytest.raises(ConfigError, match=r"practice\.rounds=1 .*data=2 x fsdp=1 x tensor=1: set"):
        RunConfig(objective=practising, learner=LearnerConfig(mesh=MeshConfig(data=2)))
    assert RunConfig(objective=practising).learner.mesh.is_one_device


def test_a_taste_is_followed_as_far_as_it_is_known(run: Run) -> None:
    pupil = Pupil(run)
    pupil.hears(120)
    known = pupil.sample_round(["local"], pupil.trainable, version=0, seed=0)
    assert 0.3 < (known.max_kl / PRACTICE.max_reply_kl) ** 0.5 * PRACTICE.rounds < 1.0
    sure = Pupil(run, replace(PRACTICE, full_foresight=0.01))
    sure.hears(120)
    all_the_way = sure.sample_round(["local"], sure.trainable, version=0, seed=0).max_kl
    assert all_the_way == pytest.approx(PRACTICE.max_reply_kl / PRACTICE.rounds**2)
    pupil.hears(40, scope="other")
    both = ["local", "other"]
    less = pupil.sample_round(both, pupil.trainable, version=0, seed=0)
    assert 0.0 < less.max_kl < known.max_kl


def test_a_step_in_the_dark_is_a_short_one(run: Run) -> None:
    pupil = Pupil(run, replace(PRACTICE, blind_share=0.1))
    pupil.hears(120)
    preferences = pupil.practice.preferences(["local"])
    known = preferences["local"].confidence
    assert known > 0.1
    assert pupil.practice.step_scale(["local"], preferences) == pytest.approx(known)
    assert pupil.practice.step_scale(["new"], preferences) == pytest.approx(0.1)
    mixed = ["local", "local", "local", "new"]
    assert pupil.practice.step_scale(mixed, preferences) == pytest.approx(0.75 * known + 0.25 * 0.1)
    assert Pupil(run).practice.step_scale(["new"], {}) == 1.0, "bounded only where it is asked for"
    learner = run.learner(drift=DriftConfig(max_step_reply_kl=4.0))
    turns = [AdmittedTurn(make_turn(f"t{n}"), -1.0, (), ready_at=0.0) for n in range(3)]
    assert learner.maker.updater._bound(turns, {}) == 4.0
    learner.maker.updater.practice = pupil.practice
    assert learner.maker.updater._bound(turns, {}) == pytest.approx(0.4)
