"""WebArena's string and URL rules, with their quirks: scores are compared with published ones.

Re-implements `evaluation_harness/evaluators.py` of WebArena (Apache-2.0). Pure. Known quirks that
are kept: case is ignored, but spaces and punctuation are not; ` |OR| ` means nothing in reference
answers (task 386 cannot be passed); a reference URL matches wherever its host and path occur in the
visited one, so `/item/1` accepts `/item/12`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from clawjax.evals.suites.webarena.tokens import tokens

__all__ = [
    "clean_answer",
    "contents_match",
    "exact_match",
    "must_include",
    "url_match",
]

_ALTERNATIVES = " |OR| "


def clean_answer(text: str) -> str:
    """Without the space around it, one pair of quotes around that, and capitals."""
    text = text.strip()
    for quote in "'\"":
        if text.startswith(quote) and text.endswith(quote):
            return text[1:-1].lower()
    return text.lower()


def exact_match(reference: str, answer: str) -> bool:
    """Equal when cleaned."""
    return clean_answer(answer) == clean_answer(reference)


def must_include(reference: str, answer: str, *, tokenize: bool = False) -> bool:
    """Whether the cleaned reference occurs in the cleaned answer.

    Args:
        reference: what has to be there.
        answer: where.
        tokenize: a reference of one character has to be a token of its own, so that "0" is not
            found in "10"; set where it is the only reference.
    """
    wanted, given = clean_answer(reference), clean_answer(answer)
    if tokenize and len(wanted) == 1:
        return wanted in tokens(given)
    return wanted in given


def url_match(reference_url: str, url: str) -> bool:
    """`GOLD in PRED`.

    Host and path of some reference occur in those of the URL, and each parameter of any reference
    has one of the references' values.

    Args:
        reference_url: URLs with ` |OR| ` between them.
        url: of the page that was in front at the end.
    """
    bases: list[str] = []
    wanted: dict[str, set[str]] = defaultdict(set)
    for each in reference_url.split(_ALTERNATIVES):
        base, query = _parts(each)
        bases.append(base)
        for name, values in query.items():
            wanted[name].update(values)
    base, query = _parts(url)
    return any(each in base for each in bases) and all(
        values & set(query.get(name, ())) for name, values in wanted.items()
    )


def contents_match(required: Mapping[str, Any], found: str) -> bool:
    """Whether a piece of a page is as a `program_html` target asks; without tokenizing."""
    if "exact_match" in required:
        return exact_match(required["exact_match"], found)
    return all(
        any(must_include(each, found) for each in wanted.split(_ALTERNATIVES))
        for wanted in required["must_include"]
    )


def _parts(url: str) -> tuple[str, dict[str, list[str]]]:
    parts = urlsplit(url.rstrip("/"))
    return parts.netloc + parts.path, parse_qs(parts.query)
