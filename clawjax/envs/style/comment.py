"""What makes a comment on somebody's work a good one. Pure predicates of text."""

from __future__ import annotations

import re

from clawjax.envs.style.text import content_words, plain_quotes, quotations

__all__ = ["is_warm", "names_detail", "suggests_improvement"]

_TO_PUPIL = re.compile(r"\byou(?:r|rs|rself|'re|'ve|'d|'ll)?\b", re.I)
_KIND = re.compile(
    r"\b(?:good|great|nice(?:ly)?|lovely|love[ds]?|like[ds]? (?:how|that|the|your)|thank(?:s| you)"
    r"|well (?:done|written|put|said|explained|observed|thought)|(?:very|so|really) well"
    r"|glad|happy|proud|enjoy\w*|wonderful\w*|excellent\w*|impress\w*|interesting|thoughtful\w*"
    r"|clever\w*|smart|careful\w*|fantastic|amazing|brilliant\w*|super|bravo|keep (?:it up|going)"
    r"|delight\w*|right track|creative|pleased|beautiful\w*|terrific|perfect(?:ly)?|spot on)\b",
    re.I,
)
_HARSH = re.compile(
    r"\b(?:stupid|lazy|nonsense|terrible|awful|careless|sloppy|embarrassing|disappoint\w*|poor(?:ly)?"
    r"|unacceptable|ridiculous|pathetic|dumb|useless|fail(?:ed|ure)?)\b",
    re.I,
)
_SUGGESTION = re.compile(
    r"\b(?:next time|next step|(?:you|it) (?:could|might|can|may)|could (?:also|you)|can you"
    r"|why not|what if|how about|try (?:to|and|adding|using|writing)|one thing (?:to|you|that)"
    r"|even (?:better|stronger|clearer|more)|(?:to )?improve(?:ment|d)?|think about|remember to"
    r"|(?:don't|do not) forget|consider|work on|needs? (?:to|a|an|more)|(?:make|be) sure|should"
    r"|add (?:a|an|one|more|the|some|what|why|how|where|when|who)|instead of|look (?:up|again)"
    r"|check (?:the|your|how|whether|that)|a little more|explain(?:ing)? (?:why|how|what))\b",
    re.I,
)


def is_warm(text: str) -> bool:
    """Speaks to the pupil with a kind word, and none that is harsh."""
    plain = plain_quotes(text)
    is_kind = bool(_TO_PUPIL.search(plain) and _KIND.search(plain))
    return is_kind and not _HARSH.search(plain)


def names_detail(text: str, prompt: str) -> bool:
    """Takes up a word of the work: of what the prompt quotes, or of all of it without quotation.

    Words count as the same where they begin alike. Without a prompt there is nothing to name.
    """
    work = " ".join(quotations(prompt)) or prompt
    return bool(content_words(work) & content_words(text))


def suggests_improvement(text: str) -> bool:
    """Says what could be done better."""
    return bool(_SUGGESTION.search(plain_quotes(text)))
