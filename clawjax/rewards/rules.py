"""Programmatic checks of the reply: length, form, language, pattern, JSON, exact answer.

Each check is a pure function of the reply's text. The score is the weighted share of passed
checks, mapped from [0, 1] to [-1, 1]; the same reply always gets the same score.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from clawjax.config import RulesConfig
from clawjax.errors import ConfigError
from clawjax.records import NextState, Turn, Verdict
from clawjax.rewards.language import LANGUAGES, detect_language
from clawjax.rewards.prompts import boxed_texts

__all__ = [
    "Rule",
    "RulesReward",
    "compile_rules",
    "count_paragraphs",
    "count_words",
    "has_exact_answer",
    "has_list",
    "is_json",
]

MAX_CHARS = 20_000
"""Patterns see no more of a reply than this, which bounds the time they can take."""

_LIST_ITEM = re.compile(r"^\s{0,8}(?:[-*+•‣–]\s+\S|\(?\d{1,3}[.)]\s+\S|\(?[a-z][.)]\s+\S)", re.M)  # noqa: RUF001
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")

Check = Callable[[str], bool]


class Rule(NamedTuple):
    """A named, weighted check."""

    name: str
    check: Check
    weight: float


def count_words(text: str) -> int:
    """Runs of non-space characters that hold a letter or digit; CJK characters count singly."""
    spaced = re.sub(r"([\u3040-\u30ff\u3400-\u9fff])", r" \1 ", text)
    return sum(any(char.isalnum() for char in word) for word in spaced.split())


def count_paragraphs(text: str) -> int:
    """Blocks of text separated by blank lines."""
    return sum(bool(block.strip()) for block in re.split(r"\n\s*\n", text))


def has_list(text: str) -> bool:
    """Whether two or more lines start like list items (bullets, numbers, letters)."""
    return len(_LIST_ITEM.findall(text)) >= 2


def is_json(text: str) -> bool:
    """Whether the whole reply is one JSON value (RFC 8259: no NaN, no code fence)."""
    try:
        json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        return False
    return True


def has_exact_answer(text: str, expected: str) -> bool:
    r"""Whether the reply's answer is `expected`.

    The answer is the last `\boxed{...}` where there is one; otherwise the whole text or, where
    `expected` is a number, the text's last number. Numbers compare by value.
    """
    text = text[-MAX_CHARS:]
    boxed = boxed_texts(text)
    if boxed:
        return _same(boxed[-1], expected)
    if _same(text, expected):
        return True
    numbers = _NUMBER.findall(text)
    return bool(numbers) and _as_number(expected) is not None and _same(numbers[-1], expected)


def compile_rules(config: RulesConfig) -> tuple[Rule, ...]:
    """The checks that are switched on, in the order of the configuration.

    Raises:
        ConfigError: nothing switched on, a pattern that does not compile, an unknown language or
            weight, or a minimum above its maximum.
    """
    low, high = config.min_words, config.max_words
    if low is not None and high is not None and low > high:
        msg = f"reward.rules.min_words={low} is above max_words={high}: no reply can pass"
        raise ConfigError(msg)
    checks = dict(_checks(config))
    if not checks:
        msg = "reward.modules names rules, but no rule is switched on: set e.g. rules.max_words"
        raise ConfigError(msg)
    unknown = sorted(set(config.weights) - set(checks))
    if unknown:
        msg = (
            f"reward.rules.weights names {', '.join(unknown)}, which is not switched on: "
            f"use {', '.join(checks)}"
        )
        raise ConfigError(msg)
    rules = tuple(Rule(name, c, config.weights.get(name, 1.0)) for name, c in checks.items())
    if any(rule.weight < 0 for rule in rules) or not any(rule.weight for rule in rules):
        msg = "reward.rules.weights must not be negative, and at least one must be positive"
        raise ConfigError(msg)
    return rules


class RulesReward:
    """Scores a reply by rules; needs no reaction, so any next state will do."""

    name = "rules"

    def __init__(self, config: RulesConfig) -> None:
        """Compile the rules."""
        self._rules = compile_rules(config)

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether there is a reply in words; a pure tool call has none."""
        return bool(turn.reply.content.strip())

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Weigh the checks; the explanation names those that failed."""
        text = turn.reply.content.strip()
        passed = [rule.check(text) for rule in self._rules]
        total = sum(rule.weight for rule in self._rules)
        share = sum(r.weight for r, ok in zip(self._rules, passed, strict=True) if ok) / total
        failed = [r.name for r, ok in zip(self._rules, passed, strict=True) if not ok]
        return Verdict(
            turn_id=turn.turn_id,
            module=self.name,
            score=2 * share - 1,
            judged_at=time.time(),
            explanation="not met: " + ", ".join(failed) if failed else "all rules passed",
        )

    async def aclose(self) -> None:
        """Nothing is held."""


def _checks(config: RulesConfig) -> Iterator[tuple[str, Check]]:
    if (most := config.max_words) is not None:
        yield "max_words", lambda text: count_words(text) <= most
    if (least := config.min_words) is not None:
        yield "min_words", lambda text: count_words(text) >= least
    if (blocks := config.max_paragraphs) is not None:
        yield "max_paragraphs", lambda text: count_paragraphs(text) <= blocks
    if config.forbid_lists:
        yield "forbid_lists", lambda text: not has_list(text)
    if (language := config.language) is not None:
        yield "language", _language_check(language)
    if config.must_match is not None:
        wanted = _compile("must_match", config.must_match)
        yield "must_match", lambda text: wanted.search(text[:MAX_CHARS]) is not None
    if config.must_not_match is not None:
        unwanted = _compile("must_not_match", config.must_not_match)
        yield "must_not_match", lambda text: unwanted.search(text[:MAX_CHARS]) is None
    if config.is_json:
        yield "is_json", is_json
    if (expected := config.exact_answer) is not None:
        yield "exact_answer", lambda text: has_exact_answer(text, expected)


def _language_check(language: str) -> Check:
    if language not in LANGUAGES:
        msg = f"reward.rules.language={language!r} is unknown: use {', '.join(sorted(LANGUAGES))}"
        raise ConfigError(msg)
    return lambda text: detect_language(text) == language


def _compile(name: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        msg = f"reward.rules.{name}={pattern!r} is not a regular expression: {error}"
        raise ConfigError(msg) from error


def _same(answer: str, expected: str) -> bool:
    left, right = _as_number(answer), _as_number(expected)
    if left is not None and right is not None:
        return left == right
    return " ".join(answer.split()).casefold() == " ".join(expected.split()).casefold()


def _as_number(text: str) -> float | None:
    try:
        return float(text.strip().rstrip(".").replace(",", "").removeprefix("$"))
    except ValueError:
        return None


def _reject_constant(name: str) -> None:
    msg = f"{name} is not JSON"
    raise ValueError(msg)
