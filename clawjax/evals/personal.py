"""Held-out evaluation over the endpoint that users talk to: does the policy meet their style?

The same prompts with the same seeds, before and after. Invariant: these requests are side turns,
so nothing here is ever trained on, and a reply is scored by program alone.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from clawjax.evals.asking import Asker, PromptReply
from clawjax.evals.bootstrap import bootstrap_mean
from clawjax.files import replace_file

__all__ = [
    "HeldOut",
    "ScoredReply",
    "StyleResult",
    "copied",
    "evaluate_style",
    "summarise",
]

_FEW_WORDS = 3
"""A reply with fewer words says nothing."""


class HeldOut(Protocol):
    """What is evaluated: prompts that nobody trains on, and a programmatic score."""

    @property
    def held_out_prompts(self) -> Sequence[str]:
        """Prompts in a fixed order; the first `n` are used."""
        ...

    def score(self, text: str, prompt: str = "") -> float:
        """How well a reply to `prompt` does, in [0, 1]."""
        ...

    def count_words(self, text: str) -> int:
        """Words as the score counts them."""
        ...


@dataclass(frozen=True, slots=True)
class ScoredReply:
    """One held-out prompt and what became of it."""

    prompt: str
    text: str
    words: int
    score: float
    response_id: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class StyleResult:
    """What one evaluation found; survives as JSON."""

    style_score: float
    ci: tuple[float, float]
    """95 % bootstrap interval of `style_score`."""
    mean_words: float
    n: int
    short_share: float
    """Replies of under three words."""
    identical_share: float
    """Replies that equal another one, word for word."""
    distinct2: float
    """Distinct word pairs over all word pairs, of all replies together."""
    version: int | None
    """Policy version served when the evaluation began, where the server says."""
    replies: tuple[ScoredReply, ...]
    kl_per_token: float | None = None
    """Exact KL to the base model on these replies, once measured."""

    @property
    def is_degenerate(self) -> bool:
        """Whether the style was met by saying nothing, or the same thing to everybody."""
        return self.short_share > 0.1 or self.identical_share > 0.1 or self.distinct2 < 0.2

    def save(self, path: Path) -> None:
        """Replace `path` with this as JSON."""
        replace_file(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> StyleResult | None:
        """What `save` wrote; None where there is no such file."""
        if not path.exists():
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        content["ci"] = tuple(content["ci"])
        content["replies"] = tuple(ScoredReply(**reply) for reply in content["replies"])
        return cls(**content)


async def evaluate_style(
    asker: Asker,
    persona: HeldOut,
    *,
    n: int,
    seed: int = 0,
    temperature: float = 0.8,
    max_tokens: int = 160,
    system: str | None = None,
) -> StyleResult:
    """Ask the first `n` held-out prompts, each with a seed of its own, and score the replies.

    Args:
        asker: the endpoint.
        persona: prompts and score.
        n: how many prompts; all of them where there are fewer.
        seed: of the whole evaluation; prompt `i` is sampled with a seed derived from both.
        temperature: of sampling.
        max_tokens: of each reply.
        system: a system message put before each prompt.

    Raises:
        EngineError: a prompt got no reply.
    """
    prompts = persona.held_out_prompts[:n]
    version = await asker.served_version()
    replies = await asker.ask(
        prompts,
        seeds=[_prompt_seed(seed, index) for index in range(len(prompts))],
        temperature=temperature,
        max_tokens=max_tokens,
        system=system,
    )
    return summarise([_scored(reply, persona) for reply in replies], version=version)


def _scored(reply: PromptReply, persona: HeldOut) -> ScoredReply:
    return ScoredReply(
        prompt=reply.prompt,
        text=reply.text,
        words=persona.count_words(reply.text),
        score=persona.score(reply.text, reply.prompt),
        response_id=reply.response_id,
        finish_reason=reply.finish_reason,
    )


def summarise(replies: Sequence[ScoredReply], *, version: int | None = None) -> StyleResult:
    """Aggregate scored replies; at least one."""
    if not replies:
        msg = "there are no held-out replies to summarise"
        raise ValueError(msg)
    scores = [reply.score for reply in replies]
    return StyleResult(
        style_score=sum(scores) / len(scores),
        ci=bootstrap_mean(scores),
        mean_words=sum(reply.words for reply in replies) / len(replies),
        n=len(replies),
        short_share=sum(reply.words < _FEW_WORDS for reply in replies) / len(replies),
        identical_share=sum(copied([reply.text for reply in replies])) / len(replies),
        distinct2=_distinct_pairs(replies),
        version=version,
        replies=tuple(replies),
    )


def copied(texts: Sequence[str]) -> list[bool]:
    """Of each text, whether another one is the same but for white space."""
    said = [" ".join(text.split()) for text in texts]
    copies = Counter(said)
    return [copies[each] > 1 for each in said]


def _distinct_pairs(replies: Sequence[ScoredReply]) -> float:
    pairs = [pair for reply in replies for pair in pairwise(reply.text.lower().split())]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def _prompt_seed(seed: int, index: int) -> int:
    return random.Random(f"held-out:{seed}:{index}").randrange(2**31)
