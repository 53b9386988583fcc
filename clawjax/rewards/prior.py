"""How often a user praises and complains, so that what the judge reads is read in that light.

The reaction model was trained on as much praise as complaint. A user whose wish is hardly ever met
complains nearly always, and then most of what looks like praise is irony. Owns each user's shares
of the three classes. Invariant: a reaction counts by what it was taken for in the light of the
earlier ones, so that one user's habits never colour another's.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from clawjax.rewards.reaction_model import UNKNOWN, Reaction

__all__ = ["FADED", "ReactionPrior"]

_ASSUMED = 4.0
"""Reactions, of all classes alike, that are assumed of a user before the first."""
_REMEMBERED = 24.0
"""The weight of what was, in reactions: older ones fade, as users become content."""
FADED = 256
"""Reactions after which an earlier one has less than a ten-thousandth of its weight left."""
_TRUST = 0.5
"""Exponent of the shares: they are guesses of the same model. Corrected in full, a user who was
hardly ever content is hardly ever heard to be: over twelve conversations of simulated users, 33 of
312 praises were taken for complaints (uncorrected 15, half 23), while of the complaints 9 became
sure praise (uncorrected 19, half 13)."""


class ReactionPrior:
    """Corrects probabilities for the shares of classes that a user was seen to have."""

    def __init__(self, earlier: Iterable[tuple[str, Reaction]] = ()) -> None:
        """Know of users what they were taken to say before, in order; nobody by default."""
        self._counts: dict[str, np.ndarray] = {}  # `[3]` expected reactions, by user
        for user, reaction in earlier:
            if reaction != UNKNOWN:
                self._count(user, np.asarray(reaction) / sum(reaction))

    def corrected(self, user: str, reaction: Reaction) -> Reaction:
        """The reaction in the light of the user's earlier ones; it counts for their later ones.

        What the model cannot read is neither corrected nor counted.

        `p'(c | x) ~ p(c | x) (pi_user(c) / pi_train(c))^0.5` with equal shares in training, where
        `pi_user` is the running mean of the corrected probabilities. Half of the correction, in
        log-odds: the shares are guesses too.

        Reference: Saerens et al. 2002, "Adjusting the outputs of a classifier to new a priori
        probabilities", eq. 2.4 and its EM, one step per reaction.
        """
        if reaction == UNKNOWN:
            return reaction
        odds = np.asarray(reaction) * self._seen(user) ** _TRUST
        found = odds / odds.sum()
        self._count(user, found)
        return Reaction(*found.tolist())

    def _seen(self, user: str) -> np.ndarray:
        counts = self._counts.get(user)
        return np.full(3, _ASSUMED / 3) if counts is None else counts

    def _count(self, user: str, found: np.ndarray) -> None:
        counts = self._seen(user)
        fading = min(1.0, _REMEMBERED / (counts.sum() + 1.0))
        self._counts[user] = (counts + found) * fading
