"""Batches of the policy's own replies to a data set's questions, scored by a reward model.

Several replies to each question, drawn by the policy that learns from them next: with a group
baseline (`objective.baseline=rloo` or `grpo`) and the clipped surrogate this is PPO's policy update
with a leave-one-out or group baseline in the place of a value function, from one score per reply.

Reference: Ouyang et al. 2022, arXiv:2203.02155; without a value function, Ahmadian et al. 2024,
arXiv:2402.14740, and Shao et al. 2024, arXiv:2402.03300.
"""

from __future__ import annotations

import random

from clawjax.data.mixing import Mixture, shares
from clawjax.data.preferences import Row
from clawjax.data.scoring import ReplyScorer
from clawjax.learner.offline.drafts import Draft, Drawn, Policy
from clawjax.learner.offline.encoding import Encoded
from clawjax.learner.offline.material import Material
from clawjax.learner.sampler import Drawn as Reply
from clawjax.learner.sampler import Sampler
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import GenerateRequest
from clawjax.records import FinishReason, Message, SamplingParams

__all__ = ["Rollouts"]

JUDGE = "reward_model"
_MANY = 2**31


class Rollouts:
    """`Source` of replies that the policy draws now."""

    def __init__(
        self,
        material: Material,
        mixture: Mixture,
        sampler: Sampler,
        reward: ReplyScorer,
        tokenizer: ChatTokenizer,
        *,
        size: int,
        samples: int,
        sampling: SamplingParams,
        seed: int,
    ) -> None:
        """Draw `samples` replies to each of `size` questions a batch.

        Args:
            material: questions in tokens.
            mixture: which questions come when.
            sampler: draws.
            reward: scores.
            tokenizer: of the model.
            size: questions of a batch.
            samples: replies to each.
            sampling: how they are drawn, without filters, as every token is to be learnt from.
            seed: of the draws.
        """
        self._replies = material.replies
        self._mixture = mixture
        self._sampler = sampler
        self._reward = reward
        self._tokenizer = tokenizer
        self._size = size
        self._samples = samples
        self._sampling = sampling
        self._seed = seed

    def batch(self, number: int, policy: Policy) -> Drawn:
        """Replies of one policy version, question by question."""
        rows = self._mixture.batch(number, self._size)
        rng = random.Random(f"rollouts:{self._seed}:{number}")
        asked = [
            (row, self._request(row, f"offline-{number:06d}-{place:04d}-{n}", rng))
            for place, row in enumerate(rows)
            for n in range(self._samples)
        ]
        drawn = self._sampler.draw(policy.trainable, [request for _, request in asked])
        drafts = [
            self._draft(row, request, reply)
            for (row, request), reply in zip(asked, drawn, strict=True)
        ]
        untold = sum(draft.score is None for draft in drafts)
        return Drawn(drafts, shares(rows) | {"data/unscored": float(untold)})

    def _request(self, row: Row, request_id: str, rng: random.Random) -> GenerateRequest:
        (encoded,) = self._replies[row]
        return GenerateRequest(
            request_id, encoded.prompt_ids, self._sampling, seed=rng.randrange(_MANY)
        )

    def _draft(self, row: Row, request: GenerateRequest, reply: Reply) -> Draft:
        has_ended = bool(reply.token_ids) and reply.token_ids[-1] in self._tokenizer.eos_ids
        words = reply.token_ids[:-1] if has_ended else reply.token_ids
        text = self._tokenizer.decode(words)
        return Draft(
            turn_id=request.request_id,
            scope=row.user or "offline",
            prompt=row.prompt,
            reply=Message("assistant", text),
            tools_json=row.tools_json,
            encoded=Encoded(request.prompt_ids, reply.token_ids),
            sampler_logprobs=reply.logprobs,
            sampling=self._sampling,
            finish_reason=FinishReason.STOP if has_ended else FinishReason.LENGTH,
            score=self._reward.score(row.prompt, text),
            judge=JUDGE,
            note=f"{row.provenance.value}: {row.source}",
        )
