"""Mentions: which style features of a reply a user's reactions name.

"Stop saying sorry" says more than a score does: which of all that a reply did was meant. Whether it
was wanted or not is left to the scores, so that irony and praise of what was left out do no harm.
Words by which people name features in general, written down by hand and in English. Pure; no model
reads the text. Invariant: what is never mentioned keeps a small weight.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from clawjax.learner.style_features import STYLE_FEATURES
from clawjax.learner.stylometry import plain
from clawjax.log.reaction import reaction_text
from clawjax.records import NextState, NextStateKind

__all__ = ["MENTIONS", "mention_weights", "user_text"]

_LENGTH = r"short\w*|long\w*|brief\w*|length\w*|concise|terse|verbose|wordy|essays?|rambl\w*"
_SIZE = rf"{_LENGTH}|words|novels?|books?|summar\w+|tl;?dr|too much|less"
_TONE = r"formal\w*|informal\w*|casual\w*|tone|register|slang|polite\w*|manners"
_ME = r"(?:to|for|about|at) me|personal\w*|direct\w*|address\w*|impersonal"
_YOURSELF = r"yourself|about you|\"I\"|first person"
_TOGETHER = r"we|us|our|let's"
_ASK = r"questions?|ask\w*|curious"

MENTIONS: dict[str, str] = {
    "sentences with you": _ME,
    "sentences with I": _YOURSELF,
    "sentences with we": _TOGETHER,
    "ever I": _YOURSELF,
    "ever we": _TOGETHER,
    "list": r"lists?|bullets?|bulleted|points?|numbered|numbers|steps|items?",
    "markup": r"markdown|bold|italics?|asterisks?|stars?|hash(?:es)?|symbols?|headings?|format\w*",
    "paragraphs": rf"paragraphs?|blocks?|wall of text|{_LENGTH}",
    "words": _SIZE,
    "sentences": rf"sentences|{_LENGTH}",
    "words per sentence": r"sentences?|complicated|convoluted|simpl\w+|run-on",
    "long words": r"fancy|simpl\w+|plain|big words|difficult|easy|easier|complicated|jargon|smart",
    "different words": r"vocabulary|monotonous|variety|varied",
    "repeats a sentence": r"repeat\w*|repetiti\w+|twice|again and again|same thing",
    "ends in a question": _ASK,
    "questions": _ASK,
    "breaks off": r"unfinished|incomplete|cut off|broke off|mid-sentence|truncated",
    "exclaims": r"exclamation\w*|shout\w*|loud\w*|excit\w*|enthusias\w*|cheer\w*",
    "contractions": rf"contractions?|{_TONE}",
    "emoji": r"emojis?|emoticons?|smileys?|grin\w*",
    "numbers": r"numbers?|figures?|facts?|data|dates?",
    "quotes": r"quot\w+|specific\w*|details?|concrete\w*|exactly",
    "colon": r"colons?",
    "semicolon or dash": r"semicolons?|dash(?:es)?",
    "brackets": r"brackets?|parenthes[ei]s",
    "opens with a phrase": rf"greet\w*|hello|phrases?|opening|{_TONE}",
    "apologises": r"sorry|apolog\w*|excus\w*|regret\w*|grovel\w*|remorse",
    "speaks of being an AI": r"AI|robot\w*|bots?|machines?|computer|program\w*|model|disclaimers?",
    "hedges": r"sure|certain\w*|vague\w*|hedg\w*|wishy-washy|definite\w*|confiden\w+|maybe",
    "advises": r"advice|advis\w+|tips?|suggest\w*|recommend\w*|improve\w*|next time|better",
    "kind words": r"kind\w*|warm\w*|friendl\w+|nice\w*|harsh\w*|cold\w*|encourag\w*|gentl\w+|rude",
    "connectives": r"stiff\w*|formal\w*|academic|lecture\w*|essays?",
}
"""By what people call a feature: a regular expression of whole words, without regard to case."""
_MENTIONS = [
    re.compile(rf"(?<!\w)(?:{MENTIONS[name]})(?!\w)", re.IGNORECASE) if name in MENTIONS else None
    for name in STYLE_FEATURES
]
_EVEN = 4.0
"""Mentions that all features together are taken to have had before anybody said anything."""
_READ = 2000
"""Characters of a reaction: who writes more speaks of something else."""


def mention_weights(reactions: Iterable[str]) -> np.ndarray:
    """`[len(STYLE_FEATURES)]`: each feature's share of what these reactions name; sums to 1.

    The mean of a Dirichlet posterior: `(n_f + c / F) / (sum(n) + c)` where n_f reactions name
    feature f, of F features, and c mentions are assumed beforehand. One that names several counts
    for each of them.
    """
    found = [plain(text[:_READ]) for text in reactions]
    named = np.array(
        [
            sum(words is not None and bool(words.search(text)) for text in found)
            for words in _MENTIONS
        ],
        dtype=np.float64,
    )
    return (named + _EVEN / len(named)) / (named.sum() + _EVEN)


def user_text(next_states: Sequence[NextState]) -> str:
    """What the user wrote after a turn; empty where they wrote nothing."""
    theirs = (NextStateKind.USER, NextStateKind.FEEDBACK)
    parts = [reaction_text(state.messages) for state in next_states if state.kind in theirs]
    return "\n".join(filter(None, parts))
