"""Practice: replies that nobody asked for, judged by what is known of the user's taste.

A user reacts to sixteen replies where a policy could try hundreds. Once their reactions tell what
they like (`clawjax.learner.taste`), the policy answers their earlier questions again, several times
each, and learns which of its answers they would have liked better. Invariants: nothing that was
practised is logged, served or counted as a turn; every sample is the policy's own, drawn just
before it is learnt from; nobody is practised for whose reactions could not have been foreseen.

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
from clawjax.learner.reactions import Reactions, ScoredTurn
from clawjax.learner.sampler import Sampler, drawn_sample
from clawjax.learner.scoring import Model, Scorer
from clawjax.learner.taste import (
    Taste,
    Views,
    features,
    fit_taste,
    foresight,
    heeding,
    known_share,
    read_layers,
    stacked,
)
from clawjax.log.replay import scored_at, to_sample
from clawjax.models.transformer import Params
from clawjax.protocols import GenerateRequest
from clawjax.records import Sample, Turn

__all__ = ["KnownTaste", "Practice", "Practised", "Rehearsal"]

_MANY = 2**31
_LEAST_DIFFERENCE = 0.1
"""Of predicted scores, root mean square: answers that differ by less differ by next to nothing."""


class Rehearsal(NamedTuple):
    """A round's answers."""

    samples: Sequence[Sample]
    """With the leave-one-out credit of their predicted scores, of root mean square 1 at most;
    without those of questions whose answers are all alike."""
    mean_score: float | None
    """Predicted, over all answers; None where there were none."""
    reach: float
    """How far the round may lead, in nats per reply. Rounds of a version lead the same way, so that
    their distances add up, whose square the KL is; of those practised for, the least counts."""


class Practised(NamedTuple):
    """What a version learnt from its rounds."""

    users: int
    """Whose taste is known."""
    rounds: int = 0
    """Those whose answers taught something."""
    answers: int = 0
    """Learnt from, in all rounds."""


class KnownTaste(NamedTuple):
    """What is known of a user."""

    taste: Taste
    share: float
    """How far it is known, 0 to 1, by how well their reactions could have been foreseen."""


class Practice:
    """Makes samples with credit for the users of a batch."""

    def __init__(
        self,
        config: PracticeConfig,
        sampler: Sampler,
        scorer: Scorer,
        base: Model,
        reactions: Reactions,
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
            base: whose states tastes are fitted on; frozen, so that what is known of a reply stays.
            reactions: what users liked and did not, and what they asked.
            num_layers: of the base.
            max_tokens: of a turn that is learnt from, prompt and answer together.
            negative_weight: what credit below 0 counts for.
            text_of: decodes a reply's token ids.
        """
        self._config = config
        self._sampler = sampler
        self._scorer = scorer
        self._base = base
        self._reactions = reactions
        self._layers = read_layers(num_layers)
        self._max_tokens = max_tokens
        self._negative_weight = negative_weight
        self._text_of = text_of
        self._found: dict[str, dict[str, Views]] = {}
        """Views of what is remembered, by user and turn."""

    def seeds(self, version: int) -> range:
        """Of the rounds after the batch that makes a version; no two are alike."""
        rounds = self._config.rounds
        return range(version * rounds, (version + 1) * rounds)

    def tastes(self, scopes: Iterable[str]) -> dict[str, KnownTaste]:
        """Of these users (`Turn.scope`), without those of whom too little is known."""
        self._forget()
        found = {scope: self._taste(scope) for scope in dict.fromkeys(scopes)}
        return {scope: known for scope, known in found.items() if known is not None}

    def step_share(self, scopes: Sequence[str], tastes: Mapping[str, KnownTaste]) -> float:
        """How much of a step on the reactions of these users, one per turn, is no step in the dark.

        The mean over turns, of how far the taste is known and of `blind_share` the larger.
        """
        least = self._config.blind_share
        if least is None or not scopes:
            return 1.0
        known = (tastes[scope].share if scope in tastes else 0.0 for scope in scopes)
        return fmean(max(least, each) for each in known)

    def is_new(self, scope: str, tastes: Mapping[str, KnownTaste]) -> bool:
        """Whether a user's reactions are too few and too unlike to be learnt from yet."""
        return scope not in tastes and len(self._reactions.of(scope)) < self._config.listen

    def rehearse(
        self, tastes: Mapping[str, KnownTaste], trainable: Params, *, version: int, seed: int
    ) -> Rehearsal:
        """New answers to earlier questions of these users; none where there are no users.

        Args:
            tastes: by user.
            trainable: of the policy that answers.
            version: its number, which the tokens carry.
            seed: of the choice and of the replies.
        """
        rng = random.Random(seed)
        asked = [
            (known, one.turn)
            for scope, known in tastes.items()
            for one in self._reactions.of(scope)
        ]
        chosen = rng.sample(asked, min(self._config.prompts, len(asked)))
        tried = [(known.taste, turn) for known, turn in chosen for _ in range(self._config.samples)]
        if not tried:
            return Rehearsal((), None, 0.0)
        samples = self._answers([turn for _, turn in tried], trainable, version, rng)
        scores = self._predicted([taste for taste, _ in tried], samples)
        credited = self._credited(samples, scores, [turn.turn_id for _, turn in tried])
        least = min(known.share for known, _ in chosen)
        reach = self._config.max_reply_kl * least / self._config.rounds**2
        return Rehearsal(credited, fmean(scores), reach)

    def _credited(
        self, samples: Sequence[Sample], scores: Sequence[float], questions: Sequence[str]
    ) -> list[Sample]:
        """Those that teach something, each compared with the others to its question.

        Predictions shrink towards the mean where little is known, and credit with them, twice over
        with `Rehearsal.reach`: so credit is divided by its root mean square, and the reach alone
        says how far a round leads. What hardly differs stays small.
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

    def _taste(self, scope: str) -> KnownTaste | None:
        """Fitted on all reactions that are remembered; None where they tell too little."""
        known = self._reactions.of(scope)
        praised = sum(one.score > 0 for one in known)
        rarer = min(praised, len(known) - praised)
        if len(known) < self._config.min_scored or rarer < self._config.min_of_each:
            return None
        found, scores = self._views_of(scope, known), [one.score for one in known]
        say = heeding([one.said for one in known], found)
        foreseen = foresight(found, scores, say)
        share = known_share(foreseen, len(scores), full=self._config.full_foresight)
        if share == 0.0 or foreseen <= self._config.min_foresight:
            return None
        return KnownTaste(fit_taste(found, scores, say), share)

    def _forget(self) -> None:
        """Keep no views of turns that are remembered no longer."""
        found, self._found = self._found, {}
        for scope, views in found.items():
            known = {one.turn.turn_id for one in self._reactions.of(scope)}
            if kept := {turn: seen for turn, seen in views.items() if turn in known}:
                self._found[scope] = kept

    def _views_of(self, scope: str, known: Sequence[ScoredTurn]) -> Views:
        """Each reply is read once, and its views are kept as long as it is remembered."""
        kept = self._found.get(scope, {})
        new = [one.turn for one in known if one.turn.turn_id not in kept]
        read = self._read([to_sample(turn, None) for turn in new])
        both = kept | dict(zip((turn.turn_id for turn in new), read, strict=True))
        self._found[scope] = {one.turn.turn_id: both[one.turn.turn_id] for one in known}
        return stacked(list(self._found[scope].values()))

    def _read(self, samples: Sequence[Sample]) -> list[Views]:
        states = self._scorer.states(self._base, samples, self._layers)
        return [
            features(one, self._text_of(sample.response_ids))
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

    def _predicted(self, tastes: Sequence[Taste], samples: Sequence[Sample]) -> list[float]:
        return [
            float(taste.predict(stacked([found]))[0])
            for taste, found in zip(tastes, self._read(samples), strict=True)
        ]
