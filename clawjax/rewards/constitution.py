"""Holds replies to principles by an LLM's critique and revision: RL from AI feedback.

A critique names the principles broken; a revision is written; reply and revision are compared in
both orders. A verdict then has a score for RL, the revision (beside the reply a preference pair,
alone a demonstration), and the broken principles' instructions as hints. Invariants: a revision is
kept only where both orders prefer it; orders that disagree, and a comparison that contradicts the
critique, abstain; an answer that failed or cannot be read never counts.

Reference: Bai et al. 2022, "Constitutional AI", arXiv:2212.08073, sections 3 and 4.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clawjax.config import ConstitutionConfig, LlmJudgeConfig
from clawjax.records import NextState, NextStateKind, Turn, Verdict
from clawjax.rewards.constitution_prompts import (
    COMPARISON_CHOICES,
    CONSTITUTION_DIGEST,
    build_comparison,
    build_critique,
    build_revision,
    critique_choices,
    parse_choice,
    parse_critique,
    parse_revision,
)
from clawjax.rewards.endpoint import BACKOFF_S, EndpointReward
from clawjax.rewards.principles import Principle, draw, read_principles

__all__ = ["ConstitutionReward", "PositionBias", "position_bias"]


class _Critique(NamedTuple):
    """What a critique found; a problem where it cannot be read."""

    broken: tuple[Principle, ...]
    text: str
    problem: str = ""


class _Revised(NamedTuple):
    """The last revision, what was broken before it, or why there is none."""

    text: str | None
    broken: tuple[Principle, ...]
    problem: str = ""


class PositionBias(NamedTuple):
    """What comparisons in both orders say of the judge."""

    compared: int
    """Pairs with a readable answer in both orders."""
    agreed: int
    """Those in which both orders prefer the same reply."""
    first: int
    """Those in which both orders prefer what they were shown first."""
    second: int


class ConstitutionReward(EndpointReward):
    """Critique, revision, comparison."""

    name = "constitution"

    def __init__(
        self,
        config: ConstitutionConfig,
        endpoint: LlmJudgeConfig,
        *,
        env: Mapping[str, str],
        make_nonce: Callable[[], str] | None = None,
        backoff_s: float = BACKOFF_S,
    ) -> None:
        """Read the principles; nothing is sent before the first turn.

        Raises:
            ConfigError: the file of principles is not usable.
        """
        bounded = dataclasses.replace(endpoint, max_tokens=config.max_tokens)
        own = {} if make_nonce is None else {"make_nonce": make_nonce}
        super().__init__(bounded, env=env, backoff_s=backoff_s, **own)
        self._config = config
        self._principles = read_principles(
            None if config.file is None else Path(config.file).expanduser(), config.groups
        )

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether there is a reply in words; what came after it does not matter.

        Unless it is a number from a person, which overrules any judge.
        """
        is_told = next_state.kind is NextStateKind.FEEDBACK and next_state.score is not None
        return bool(turn.reply.content.strip()) and not is_told

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Hold the reply to the principles drawn for this turn."""
        principles = draw(
            self._principles,
            self._config.principles,
            seed=self._config.seed,
            turn_id=turn.turn_id,
        )
        reply = turn.reply.content.strip()
        critique = await self._critique(turn, reply, principles)
        if critique.problem:
            return self._verdict(turn, None, critique.problem)
        if not critique.broken:
            score = 1.0 if self._config.praises_clean else None
            return self._verdict(turn, score, f"nothing broken of {_named(principles)}")
        if self._config.score == "violation":
            return self._verdict(
                turn, -1.0, f"broken: {_named(critique.broken)}", broken=critique.broken
            )
        revised = await self._revise(turn, reply, critique, principles)
        if revised.text is None:
            return self._verdict(turn, None, f"no revision: {revised.problem}")
        return await self._compared(turn, reply, revised, principles)

    async def _critique(self, turn: Turn, reply: str, principles: Sequence[Principle]) -> _Critique:
        asked = build_critique(turn, reply, principles, nonce=self._make_nonce())
        choices = critique_choices(len(principles))
        answer = await self._endpoint.ask(asked, choices=choices)
        if answer.text is None:
            return _Critique((), "", answer.problem)
        found = parse_critique(answer.text, len(principles))
        if found is None:
            return _Critique((), answer.text, "a critique without a verdict")
        return _Critique(tuple(principles[index] for index in found), answer.text)

    async def _revise(
        self, turn: Turn, reply: str, critique: _Critique, principles: Sequence[Principle]
    ) -> _Revised:
        """Up to `rounds` revisions, until a critique finds nothing."""
        latest, broken = reply, critique.broken
        for number in range(self._config.rounds):
            if number:
                critique = await self._critique(turn, latest, principles)
                if critique.problem or not critique.broken:
                    break
            asked = build_revision(
                turn, latest, critique.text, principles, nonce=self._make_nonce()
            )
            answer = await self._endpoint.ask(asked)
            text = None if answer.text is None else parse_revision(answer.text)
            if text is None:
                if number:
                    break
                return _Revised(None, broken, answer.problem or "an answer without marks")
            latest = text
        if latest == reply:
            return _Revised(None, broken, "it is the reply itself")
        return _Revised(latest, broken)

    async def _compared(
        self, turn: Turn, reply: str, revised: _Revised, principles: Sequence[Principle]
    ) -> Verdict:
        """Ask in both orders; votes are +1 for the reply and -1 for the revision."""
        revision = revised.text or ""
        pairs = ((reply, revision), (revision, reply))
        answers = await self._endpoint.ask_each(
            [build_comparison(turn, *pair, principles, nonce=self._make_nonce()) for pair in pairs],
            choices=COMPARISON_CHOICES,
        )
        firsts = [None if a.text is None else parse_choice(a.text) for a in answers]
        votes = tuple(
            None if first is None else (1.0 if first is (order == 0) else -1.0)
            for order, first in enumerate(firsts)
        )
        if None in votes:
            problem = next((a.problem for a in answers if a.problem), "a comparison without choice")
            return self._verdict(turn, None, problem, votes=votes)
        if votes == (-1.0, -1.0):
            why = f"broken: {_named(revised.broken)}; both orders prefer the revision"
            return self._verdict(
                turn, -1.0, why, votes=votes, broken=revised.broken, revision=revision
            )
        agreed = votes == (1.0, 1.0)
        why = "both orders prefer the reply that was found wanting" if agreed else "orders disagree"
        return self._verdict(turn, None, why, votes=votes)

    def _verdict(
        self,
        turn: Turn,
        score: float | None,
        explanation: str,
        *,
        votes: tuple[float | None, ...] = (),
        broken: Sequence[Principle] = (),
        revision: str | None = None,
    ) -> Verdict:
        return Verdict(
            turn_id=turn.turn_id,
            module=self.name,
            score=score,
            judged_at=time.time(),
            hints=_hints(broken) if self._config.gives_hints else (),
            votes=votes,
            explanation=explanation,
            prompt_digest=CONSTITUTION_DIGEST,
            revision=revision,
        )


def position_bias(verdicts: Iterable[Verdict]) -> PositionBias:
    """Count, in verdicts of this module, which place the judge prefers."""
    pairs = [v.votes for v in verdicts if len(v.votes) == 2 and None not in v.votes]
    return PositionBias(
        compared=len(pairs),
        agreed=sum(one == other for one, other in pairs),
        first=pairs.count((1.0, -1.0)),
        second=pairs.count((-1.0, 1.0)),
    )


def _named(principles: Sequence[Principle]) -> str:
    return ", ".join(f"{each.group}.{each.name}" for each in principles)


def _hints(broken: Sequence[Principle]) -> tuple[str, ...]:
    """All instructions together, then each alone."""
    alone = [each.hint for each in broken]
    return tuple(dict.fromkeys([" ".join(alone), *alone])) if alone else ()
