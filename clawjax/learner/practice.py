"""Practice: replies that nobody asked for, scored by a model of the user's preferences.

A user reacts to sixteen replies where a policy could try hundreds. Once their reactions tell what
they like (`clawjax.learner.preference_model`), the policy answers their earlier questions again,
several times each, and learns which of its answers they would have liked better. Invariants:
nothing that was practised is logged, served or counted as a turn; every sample is the policy's own,
drawn just before it is learnt from; nobody is practised for whose reactions could not have been
predicted.

References: reward models for reinforcement learning from human feedback, Christiano et al. 2017,
arXiv:1706.03741; replies imagined from a learnt model of what they would bring, Sutton 1991,
"Dyna, an integrated architecture for learning, planning, and reacting".
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

from clawjax.config import PracticeConfig
from clawjax.learner.credit import group
from clawjax.learner.preference_model import (
    PreferenceModel,
    Views,
    fit_preference_model,
    leave_one_out_correlation,
    mention_weighted,
    model_confidence,
    read_layers,
    reply_views,
    stack_views,
)
from clawjax.learner.replay_buffer import ReplayBuffer, ScoredTurn
from clawjax.learner.sampler import Sampler, drawn_sample
from clawjax.learner.scoring import Model, Scorer
from clawjax.log.replay import scored_at, to_sample
from clawjax.models.transformer import Params
from clawjax.protocols import GenerateRequest
from clawjax.records import Sample, Turn

__all__ = ["KnownPreference", "Practice", "PracticeRound", "Practised"]

_MANY = 2**31
_LEAST_DIFFERENCE = 0.1
"""Of predicted scores, root mean square: answers that differ by less differ by next to nothing."""


class PracticeRound(NamedTuple):
    """A round's answers."""

    samples: Sequence[Sample]
    """With the leave-one-out credit of their predicted scores, of root mean square 1 at most;
    without those of questions whose answers are all alike."""
    mean_score: float | None
    """Predicted, over all answers; None where there were none."""
    max_kl: float
    """How far the round may lead, in nats per reply. Rounds of a version lead the same way, so that
    their distances add up, whose square the KL is; of those practised for, the least counts."""


class Practised(NamedTuple):
    """What a version learnt from its rounds."""

    users: int
    """Whose preferences are known."""
    rounds: int = 0
    """Those whose answers taught something."""
    answers: int = 0
    """Learnt from, in all rounds."""


class KnownPreference(NamedTuple):
    """What is known of a user."""

    model: PreferenceModel
    confidence: float
    """How far to follow it, 0 to 1, by how well their reactions could have been predicted."""


class Practice:
    """Makes samples with credit for the users of a batch."""

    def __init__(
        self,
        config: PracticeConfig,
        sampler: Sampler,
        scorer: Scorer,
        base: Model,
        replay_buffer: ReplayBuffer,
        *,
        num_layers: int,
        max_tokens: int,
        negative_weight: float,
        text_of: Callable[[Sequence[int]], str],
    ) -> None:
        """Prepare to practise.

        Args:
            config: how much.
            sampler: draws replies.
            scorer: runs the base model over them.
            base: whose states preferences are fitted on; frozen, so that what is known of a reply
                stays.
            replay_buffer: what users liked and did not, and what they asked.
            num_layers: of the base.
            max_tokens: of a turn that is learnt from, prompt and answer together.
            negative_weight: what credit below 0 counts for.
            text_of: decodes a reply's token ids.
        """
        self._config = config
        self._sampler = sampler
        self._scorer = scorer
        self._base = base
        self._replay_buffer = replay_buffer
        self._layers = read_layers(num_layers)
        self._max_tokens = min(max_tokens, sampler.context_length)
        self._negative_weight = negative_weight
        self._text_of = text_of
        self._found: dict[str, dict[str, Views]] = {}
        """Views of what is remembered, by user and turn."""

    def seeds(self, version: int) -> range:
        """Of the rounds after the batch that makes a version; no two are alike."""
        rounds = self._config.rounds
        return range(version * rounds, (version + 1) * rounds)

    def preferences(self, scopes: Iterable[str]) -> dict[str, KnownPreference]:
        """Of these users (`Turn.scope`), without those of whom too little is known."""
        self._forget()
        found = {scope: self._known(scope) for scope in dict.fromkeys(scopes)}
        return {scope: known for scope, known in found.items() if known is not None}

    def step_scale(
        self, scopes: Sequence[str], preferences: Mapping[str, KnownPreference]
    ) -> float:
        """How much of a step on the reactions of these users, one per turn, is no step in the dark.

        The mean over turns, of the confidence in a user's model and of `blind_share` the larger.
        """
        least = self._config.blind_share
        if least is None or not scopes:
            return 1.0
        known = (preferences[scope].confidence if scope in preferences else 0.0 for scope in scopes)
        return fmean(max(least, each) for each in known)

    def is_cold_start(self, scope: str, preferences: Mapping[str, KnownPreference]) -> bool:
        """Whether a user's reactions are too few and too unlike to be learnt from yet."""
        return (
            scope not in preferences
            and len(self._replay_buffer.scored(scope)) < self._config.listen
        )

    def sample_round(
        self,
        preferences: Mapping[str, KnownPreference],
        trainable: Params,
        *,
        version: int,
        seed: int,
    ) -> PracticeRound:
        """New answers to earlier questions of these users; none where there are no users.

        Questions that were asked when the context was longer, and leave no room for an answer now,
        are left out.

        Args:
            preferences: by user.
            trainable: of the policy that answers.
            version: its number, which the tokens carry.
            seed: of the choice and of the replies.
        """
        rng = random.Random(seed)
        asked = [
            (known, one.turn)
            for scope, known in preferences.items()
            for one in self._replay_buffer.scored(scope)
            if len(one.turn.prompt_ids) < self._max_tokens
        ]
        chosen = rng.sample(asked, min(self._config.prompts, len(asked)))
        tried = [(known.model, turn) for known, turn in chosen for _ in range(self._config.samples)]
        if not tried:
            return PracticeRound((), None, 0.0)
        samples = self._answers([turn for _, turn in tried], trainable, version, rng)
        scores = self._predicted([model for model, _ in tried], samples)
        credited = self._credited(samples, scores, [turn.turn_id for _, turn in tried])
        least = min(known.confidence for known, _ in chosen)
        max_kl = self._config.max_reply_kl * least / self._config.rounds**2
        return PracticeRound(credited, fmean(scores), max_kl)

    def _credited(
        self, samples: Sequence[Sample], scores: Sequence[float], questions: Sequence[str]
    ) -> list[Sample]:
        """Those that teach something, each compared with the others to its question.

        Predictions shrink towards the mean where little is known, and credit with them, twice over
        with `PracticeRound.max_kl`: so credit is divided by its root mean square, and the bound
        alone says how far a round leads. What hardly differs stays small.
        """
        places = group.most_varied(scores, questions, kept=self._config.learnt_from)
        above = group.rloo([scores[p] for p in places], [questions[p] for p in places])
        size = max(_LEAST_DIFFERENCE, math.sqrt(fmean(each**2 for each in above)))
        credits = group.tilted([each / size for each in above], self._negative_weight)
        return [
            replace(samples[place], credit=(credit,) * len(samples[place].response_ids))
            for place, credit in zip(places, credits, strict=True)
            if credit != 0.0
        ]

    def _known(self, scope: str) -> KnownPreference | None:
        """Fitted on all reactions that are remembered; None where they tell too little."""
        known = self._replay_buffer.scored(scope)
        praised = sum(one.score > 0 for one in known)
        rarer = min(praised, len(known) - praised)
        if len(known) < self._config.min_scored or rarer < self._config.min_of_each:
            return None
        found, scores = self._views_of(scope, known), [one.score for one in known]
        feature_weights = mention_weighted([one.user_text for one in known], found)
        correlation = leave_one_out_correlation(found, scores, feature_weights)
        confidence = model_confidence(correlation, len(scores), full=self._config.full_foresight)
        if confidence == 0.0 or correlation <= self._config.min_foresight:
            return None
        return KnownPreference(fit_preference_model(found, scores, feature_weights), confidence)

    def _forget(self) -> None:
        """Keep no views of turns that are remembered no longer."""
        found, self._found = self._found, {}
        for scope, views in found.items():
            known = {one.turn.turn_id for one in self._replay_buffer.scored(scope)}
            if kept := {turn: seen for turn, seen in views.items() if turn in known}:
                self._found[scope] = kept

    def _views_of(self, scope: str, known: Sequence[ScoredTurn]) -> Views:
        """Each reply is read once, and its views are kept as long as it is remembered."""
        kept = self._found.get(scope, {})
        new = [one.turn for one in known if one.turn.turn_id not in kept]
        read = self._read([to_sample(turn, None) for turn in new])
        both = kept | dict(zip((turn.turn_id for turn in new), read, strict=True))
        self._found[scope] = {one.turn.turn_id: both[one.turn.turn_id] for one in known}
        return stack_views(list(self._found[scope].values()))

    def _read(self, samples: Sequence[Sample]) -> list[Views]:
        states = self._scorer.states(self._base, samples, self._layers)
        return [
            reply_views(one, self._text_of(sample.response_ids))
            for one, sample in zip(states, samples, strict=True)
        ]

    def _answers(
        self, turns: Sequence[Turn], trainable: Params, version: int, rng: random.Random
    ) -> list[Sample]:
        requests = [self._request(turn, number, rng) for number, turn in enumerate(turns)]
        drawn = self._sampler.draw(trainable, requests)
        return [
            drawn_sample(request, reply, version=version)
            for request, reply in zip(requests, drawn, strict=True)
        ]

    def _request(self, turn: Turn, number: int, rng: random.Random) -> GenerateRequest:
        """The turn's prompt and temperature; no filter, as every token is to be learnt from."""
        limit = min(
            self._config.max_response_tokens,
            turn.sampling.max_response_tokens,
            self._max_tokens - len(turn.prompt_ids),
        )
        sampling = replace(
            turn.sampling,
            max_response_tokens=limit,
            temperature=scored_at(turn.sampling.temperature),
            top_p=1.0,
            top_k=0,
            min_p=0.0,
            seed=None,
        )
        return GenerateRequest(
            f"practice-{number}", turn.prompt_ids, sampling, seed=rng.randrange(_MANY)
        )

    def _predicted(
        self, preferences: Sequence[PreferenceModel], samples: Sequence[Sample]
    ) -> list[float]:
        return [
            float(model.predict(stack_views([found]))[0])
            for model, found in zip(preferences, self._read(samples), strict=True)
        ]
