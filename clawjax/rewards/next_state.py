"""Judges a turn by the user's reaction to it, with a small model that runs here on the CPU.

Owns the rule from probabilities to verdicts: praise is +1, a complaint -1, or a little less as the
judge is less certain; everything else - no reaction, an unsure model, another language, a tool's
success - is an abstention.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable

from clawjax.config import NextStateConfig
from clawjax.log.reaction import is_call_error, reaction_text
from clawjax.records import NextState, NextStateKind, Turn, Verdict
from clawjax.rewards.prior import ReactionPrior
from clawjax.rewards.reaction_model import Reaction, ReactionModel

__all__ = ["ADAPTING", "NextStateReward", "reactions_in", "score_of"]

ADAPTING = ("next_state", "feedback", "composite")
"""Modules in whose name words are read, in the light of what the same user said before."""
_HEARD = 1024
"""Reactions that are remembered as they were taken, the newest: one that its judge is asked about
again, as while a judge beside it is away, is not to count twice for how its user talks."""
_EXPLAINED = re.compile(r"praise (\d\.\d\d), complaint (\d\.\d\d), neutral (\d\.\d\d)")


def score_of(reaction: Reaction, *, confidence: float, is_graded: bool = False) -> float | None:
    """+1 or -1 where the model is at least so confident, None otherwise.

    Graded, it is the expected score: the probability of praise less that of a complaint.
    """
    if max(reaction.praise, reaction.complaint) < confidence:
        return None
    if is_graded:
        return reaction.praise - reaction.complaint
    return 1.0 if reaction.praise > reaction.complaint else -1.0


class NextStateReward:
    """Reads what the user says next; `feedback` borrows it for feedback given in words."""

    name = "next_state"

    def __init__(
        self,
        config: NextStateConfig,
        model: ReactionModel,
        earlier: Iterable[tuple[str, Reaction]] = (),
    ) -> None:
        """Judge with `model`, which is loaded at the first reaction.

        Args:
            config: how.
            model: what reads reactions.
            earlier: whose reactions were taken for what before, in order.
        """
        self._config = config
        self._prior = ReactionPrior(earlier)
        self._model = model
        self._heard: dict[tuple[str, int], Reaction] = {}

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether a user or a tool has answered."""
        return next_state.kind in (NextStateKind.USER, NextStateKind.TOOL)

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Classify the reaction in a worker thread."""
        if is_call_error(next_state.messages):
            return self._verdict(turn, -1.0, "a tool rejected the call as malformed")
        return await self.judge_words(turn, next_state)

    async def judge_words(
        self, turn: Turn, next_state: NextState, *, module: str | None = None
    ) -> Verdict:
        """The same for words alone, in the name of another module where one asks."""
        text = reaction_text(next_state.messages)
        if not text:
            return self._verdict(turn, None, "the user said nothing", module)
        reaction = await asyncio.to_thread(self._model.classify, text)
        if self._config.adapts:
            reaction = self._in_light(turn, text, reaction)
        score = score_of(
            reaction, confidence=self._config.confidence, is_graded=self._config.is_graded
        )
        return self._verdict(turn, score, _explain(reaction), module)

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _in_light(self, turn: Turn, text: str, reaction: Reaction) -> Reaction:
        """In the light of the same user's earlier ones, to which it is added once."""
        key = (turn.turn_id, hash(text))
        if key not in self._heard:
            self._heard[key] = self._prior.corrected(turn.scope, reaction)
        taken = self._heard[key]
        if len(self._heard) > _HEARD:
            del self._heard[next(iter(self._heard))]
        return taken

    def _verdict(
        self, turn: Turn, score: float | None, explanation: str, module: str | None = None
    ) -> Verdict:
        return Verdict(
            turn_id=turn.turn_id,
            module=module or self.name,
            score=score,
            judged_at=time.time(),
            explanation=explanation,
            prompt_digest=self._model.digest,
        )


def reactions_in(verdict: Verdict) -> list[Reaction]:
    """What words were taken for, as the verdict or one of its parts explains it.

    To two digits, so that the probabilities add up to about 1.
    """
    parts = (component.note for component in verdict.components)
    found = (_EXPLAINED.fullmatch(text) for text in (verdict.explanation, *parts))
    return [Reaction(*map(float, match.groups())) for match in found if match is not None]


def _explain(reaction: Reaction) -> str:
    return (
        f"praise {reaction.praise:.2f}, complaint {reaction.complaint:.2f}, "
        f"neutral {reaction.neutral:.2f}"
    )
