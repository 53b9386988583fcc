"""Batches of replies that somebody else wrote: examples to imitate, pairs to compare.

Their log-probs are the policy's own at the moment it meets them, so that an importance ratio is 1
where anything reads it: nobody knows how likely the writer found them.
"""

from __future__ import annotations

from collections.abc import Sequence

from clawjax.data.mixing import Mixture, shares
from clawjax.data.preferences import Preference, Rated, Row
from clawjax.learner.offline.drafts import Draft, Drawn, Policy, plain_sample
from clawjax.learner.offline.material import Material, replies_of
from clawjax.learner.scoring import Scorer
from clawjax.records import FinishReason, SamplingParams

__all__ = ["WrittenReplies"]

JUDGE = "offline"


class WrittenReplies:
    """`Source` of rows: a rated reply with its score; a pair, its two replies with 1 and -1."""

    def __init__(self, material: Material, mixture: Mixture, scorer: Scorer, *, size: int) -> None:
        """Take `size` rows a batch of `mixture`, whose rows `material` has."""
        self._replies = material.replies
        self._mixture = mixture
        self._scorer = scorer
        self._size = size

    def batch(self, number: int, policy: Policy) -> Drawn:
        """Rows in the order of the mixture; a pair's replies are compared with nothing else."""
        rows = self._mixture.batch(number, self._size)
        bare = [
            (f"offline-{number:06d}-{place:04d}-{which}", row, which)
            for place, row in enumerate(rows)
            for which in range(len(self._replies[row]))
        ]
        samples = [plain_sample(turn_id, self._replies[row][n]) for turn_id, row, n in bare]
        scored = self._scorer.score(policy.model, samples)
        drafts = [
            self._draft(turn_id, row, which, tuple(map(float, scores.logprobs)))
            for (turn_id, row, which), scores in zip(bare, scored, strict=True)
        ]
        epochs = self._mixture.epochs(number + 1, self._size)
        return Drawn(drafts, shares(rows) | {"data/epoch": epochs})

    def _draft(self, turn_id: str, row: Row, which: int, logprobs: tuple[float, ...]) -> Draft:
        encoded = self._replies[row][which]
        scores = _scores(row)
        is_pair = isinstance(row, Preference)
        return Draft(
            turn_id=turn_id,
            scope=turn_id.rpartition("-")[0] if is_pair else row.user or "offline",
            prompt=row.prompt,
            reply=replies_of(row)[which],
            tools_json=row.tools_json,
            encoded=encoded,
            sampler_logprobs=logprobs,
            sampling=SamplingParams(max_response_tokens=len(encoded.response_ids)),
            finish_reason=FinishReason.STOP,
            score=scores[which],
            judge=JUDGE,
            note=f"{row.provenance.value}: {row.source}",
        )


def _scores(row: Preference | Rated) -> Sequence[float]:
    return (1.0, -1.0) if isinstance(row, Preference) else (row.score,)
