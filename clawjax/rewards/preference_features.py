"""What a reward model sees of a prompt and a reply: their meaning, their fit, the reply's form.

Owns the features and their order. Invariant: what depends on the prompt alone is left out, since
it is the same for both replies of a pair.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from clawjax.records import Message
from clawjax.rewards.encoder import BertEncoder, packaged_encoder_path
from clawjax.rewards.rules import count_paragraphs, count_words, has_list

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FORM", "FeatureReader", "LikePreference", "PreferencePair", "prompt_text", "to_pairs"]

FORM = ("log_words", "words_per_sentence", "paragraphs", "list", "question", "exclamations", "code")
"""The features of form, after those of the encoder."""


class PreferencePair(NamedTuple):
    """One reply over another, as text."""

    prompt: str
    """What both answer: the last message before them."""
    chosen: str
    rejected: str
    user: str = ""
    provenance: str = ""


class LikePreference(Protocol):
    """What a preference of any source has."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """What both replies answer."""
        ...

    @property
    def chosen(self) -> Message:
        """The better reply."""
        ...

    @property
    def rejected(self) -> Message:
        """The other."""
        ...

    @property
    def user(self) -> str:
        """Whose conversation it was."""
        ...

    @property
    def provenance(self) -> str:
        """Who judged."""
        ...


class FeatureReader:
    """Reads texts with the packaged sentence encoder; about 20 ms per new text on a CPU."""

    def __init__(self, encoder: BertEncoder | None = None) -> None:
        """Load at the first text.

        Raises:
            ConfigError: the package with the encoder's weights is not installed.
        """
        self._encoder = encoder or BertEncoder(packaged_encoder_path())

    def read(self, prompt: str, reply: str) -> NDArray[np.float32]:
        """`[2 D + len(FORM)]`: the reply's vector, its product with the prompt's, the form."""
        return self.join(self.vector(prompt), reply)

    def join(self, prompt: NDArray[np.float32], reply: str) -> NDArray[np.float32]:
        """The same where the prompt's vector `[D]` is known."""
        vector = self.vector(reply)
        product = vector * prompt * np.float32(math.sqrt(len(vector)))
        return np.concatenate([vector, product, form(reply)])

    def vector(self, text: str) -> NDArray[np.float32]:
        """The mean of the last states, of length 1, `[D]`."""
        mean = self._encoder.states(text or " ").mean(axis=0)
        return mean / max(float(np.linalg.norm(mean)), 1e-6)


def form(reply: str) -> NDArray[np.float32]:
    """The features of `FORM`, roughly of size 1."""
    words = count_words(reply)
    sentences = max(1, sum(reply.count(mark) for mark in ".!?"))
    values = (
        math.log1p(words) / 4,
        math.log1p(words / sentences) / 3,
        math.log1p(count_paragraphs(reply)) / 2,
        float(has_list(reply)),
        float(reply.rstrip().endswith("?")),
        min(3, reply.count("!")) / 3,
        float("```" in reply),
    )
    return np.asarray(values, np.float32)


def prompt_text(messages: Iterable[Message]) -> str:
    """The last message that somebody wrote; empty where there is none."""
    return next((m.content for m in reversed(tuple(messages)) if m.content.strip()), "")


def to_pairs(preferences: Iterable[LikePreference]) -> list[PreferencePair]:
    """Preferences of any source as text; those about tool calls alone are left out."""
    return [
        PreferencePair(
            prompt_text(each.prompt),
            each.chosen.content,
            each.rejected.content,
            each.user,
            str(each.provenance),
        )
        for each in preferences
        if each.chosen.content.strip() and each.rejected.content.strip()
    ]
