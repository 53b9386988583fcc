"""What a persona may wish for, and how well a reply meets it. Pure functions of text.

Invariant: a score is in [0, 1] and depends on the reply and the question alone, so that the same
reply scores the same in a conversation and in a held-out evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from clawjax.envs.style import comment, form, tone
from clawjax.envs.style.text import count_paragraphs, count_words
from clawjax.errors import ConfigError
from clawjax.own import check_call, find

__all__ = ["WISHES", "Style", "Wish", "broken_wishes", "held_wishes", "style_score"]


@dataclass(frozen=True, slots=True)
class Style:
    """What a persona wishes for; `None` and False leave a wish out."""

    max_words: int | None = None
    min_words: int = 1
    """Below this a reply says nothing: silence is not brevity."""
    max_paragraphs: int | None = None
    """Paragraphs are separated by blank lines."""
    forbid_repeats: bool = False
    """The same sentence again, or the same few words."""
    forbid_lists: bool = False
    """Bullets, numbered steps, headings and tables."""
    forbid_markup: bool = False
    """Emphasis, code, links, rules, labelled steps."""
    is_formal: bool = False
    """No contractions, slang, exclamation marks or emoji."""
    ends_with_question: bool = False
    """An answer, and then a question to the reader."""
    addresses_reader: bool = False
    """Half of the sentences say "you", none says "I" or "we"."""
    forbid_apologies: bool = False
    forbid_ai_talk: bool = False
    """A reply that speaks of being an AI."""
    forbid_stock_phrases: bool = False
    """ "Sure!", "Great question", "In conclusion" and their like."""
    forbid_stiff_words: bool = False
    """ "Furthermore", "utilize", "crucial" and their like."""
    is_warm: bool = False
    """A kind word to the person spoken to."""
    names_detail: bool = False
    """Takes up something that the question mentions."""
    suggests_improvement: bool = False
    is_partial: bool = False
    """Score the share of wishes met instead of all or nothing."""
    own: tuple[tuple[str, str], ...] = ()
    """Names of wishes of one's own, each with the import path of a function of reply and question
    that says whether it is met."""

    def __post_init__(self) -> None:
        """A wish that no reply can meet is a mistake, and so is one that nothing can check."""
        for name, path in self.own:
            if name in [wish.name for wish in WISHES]:
                msg = f"style.own.{name} is called like a wish there is: choose another name"
                raise ConfigError(msg)
            _own_check(name, path)
        if self.min_words < 1:
            msg = f"style.min_words={self.min_words} rewards silence: the minimum is 1"
            raise ConfigError(msg)
        if self.max_words is not None and self.max_words < self.min_words:
            msg = f"style.max_words={self.max_words} is below min_words={self.min_words}: raise it"
            raise ConfigError(msg)
        if self.max_paragraphs is not None and self.max_paragraphs < 1:
            msg = f"style.max_paragraphs={self.max_paragraphs} is too small: the minimum is 1"
            raise ConfigError(msg)


class Wish(NamedTuple):
    """One thing that a style may ask for; `name` says what is wrong where it is not met."""

    name: str
    is_held: Callable[[Style], bool]
    is_met: Callable[[str, Style, str], bool]
    """Of reply, style and question."""


def _absent(name: str, is_held: Callable[[Style], bool], is_found: Callable[[str], bool]) -> Wish:
    return Wish(name, is_held, lambda text, _style, _prompt: not is_found(text))


def _present(name: str, is_held: Callable[[Style], bool], is_found: Callable[[str], bool]) -> Wish:
    return Wish(name, is_held, lambda text, _style, _prompt: is_found(text))


WISHES: tuple[Wish, ...] = (
    Wish("too_short", lambda s: True, lambda text, s, _: count_words(text) >= s.min_words),
    Wish(
        "too_long",
        lambda s: s.max_words is not None,
        lambda text, s, _: s.max_words is None or count_words(text) <= s.max_words,
    ),
    _absent("lists", lambda s: s.forbid_lists, form.has_list),
    Wish(
        "paragraphs",
        lambda s: s.max_paragraphs is not None,
        lambda text, s, _: s.max_paragraphs is None or count_paragraphs(text) <= s.max_paragraphs,
    ),
    _absent("repeats", lambda s: s.forbid_repeats, form.repeats_itself),
    _absent("markup", lambda s: s.forbid_markup, form.has_markup),
    _absent("informal", lambda s: s.is_formal, tone.is_informal),
    _present("no_answer", lambda s: s.ends_with_question, form.answers_first),
    Wish(
        "no_question",
        lambda s: s.ends_with_question,
        lambda text, _, prompt: form.ends_with_question(text, prompt),
    ),
    _present("impersonal", lambda s: s.addresses_reader, tone.addresses_reader),
    _absent("first_person", lambda s: s.addresses_reader, tone.speaks_of_itself),
    _absent("apology", lambda s: s.forbid_apologies, tone.apologises),
    _absent("ai_talk", lambda s: s.forbid_ai_talk, tone.says_it_is_ai),
    _absent("stock_phrases", lambda s: s.forbid_stock_phrases, tone.has_stock_phrases),
    _absent("stiff_words", lambda s: s.forbid_stiff_words, tone.has_stiff_words),
    _present("cold", lambda s: s.is_warm, comment.is_warm),
    Wish(
        "vague",
        lambda s: s.names_detail,
        lambda text, _, prompt: comment.names_detail(text, prompt),
    ),
    _present("no_advice", lambda s: s.suggests_improvement, comment.suggests_improvement),
)
"""Every wish there is, in the order in which they are named."""


def held_wishes(style: Style) -> tuple[str, ...]:
    """The names of what a style asks for."""
    own = (name for name, _ in style.own)
    return (*(wish.name for wish in WISHES if wish.is_held(style)), *own)


def broken_wishes(text: str, style: Style, prompt: str = "") -> tuple[str, ...]:
    """Which wishes a reply to `prompt` disregards, e.g. `too_long`; as `held_wishes` has them."""
    return tuple(name for name, is_met in _checks(text, style, prompt) if not is_met)


def style_score(text: str, style: Style, prompt: str = "") -> float:
    """1 if every wish is met, else 0; with `is_partial`, the share of wishes met.

    A reply that says nothing scores 0 either way.
    """
    checks = _checks(text, style, prompt)
    if not checks[0][1]:
        return 0.0
    met = sum(is_met for _, is_met in checks)
    return met / len(checks) if style.is_partial else float(met == len(checks))


def _checks(text: str, style: Style, prompt: str) -> list[tuple[str, bool]]:
    text = text.strip()
    held = (wish for wish in WISHES if wish.is_held(style))
    checks = [(wish.name, wish.is_met(text, style, prompt)) for wish in held]
    return checks + [(name, _own_check(name, path)(text, prompt)) for name, path in style.own]


@cache
def _own_check(name: str, path: str) -> Callable[[str, str], bool]:
    """Whether a wish of one's own is met, of reply and question.

    Raises:
        ConfigError: there is no such function, or it takes something else.
    """
    setting = f"style.own.{name}"
    function = find(path, setting)
    given = ("reply", "question")
    check_call(function, path, given, {}, setting=setting, key=setting)
    return lambda reply, question: bool(function(reply, question))
