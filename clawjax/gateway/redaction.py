"""What is blanked out of turns and reactions before they are logged.

Invariant: where anything was blanked out of a turn, its token ids and log-probs, which spell it,
are not kept either; such a turn is dropped from training (`redacted`) and its other text stays. A
rule that fails logs nothing. Rules look at texts of any length, so every pattern is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from clawjax.errors import ConfigError, LogError
from clawjax.own import find
from clawjax.records import Message, NextState, SamplingParams, ToolCall, Turn

__all__ = ["RULES", "Redactor", "Rule"]

Rule = Callable[[str], str]
"""Takes a text and returns it without its secrets; the same text where there are none."""

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"
)
_PHONE = re.compile(
    r"(?<![\w+])\+\d(?:[ .\-/()]{0,2}\d){7,14}(?!\d)"
    r"|(?<![\w.\-])(?:1[ .\-])?(?:\(\d{3}\) ?|\d{3}[ .\-])\d{3}[ .\-]\d{4}(?![\w\-])"
    r"|(?<![\w.\-])0\d{2,4}[ \-/]{1,3}\d{3,4}(?:[ \-]?\d{2,4}){1,2}(?![\w\-])"
)
"""International, North American, and with a leading zero."""
_CARD = re.compile(r"(?<![\d.])[2-6]\d{3}(?:[ -]?\d){9,15}(?!\d)")
"""Cards that people pay with begin with 2 to 6, times in milliseconds with 1."""
_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:.(?!-----BEGIN)){0,20000}?"
    r"(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
    r"|\b(?:sk|ck|pk|rk)[-_][A-Za-z0-9_\-]{16,256}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,255}|\bgithub_pat_[A-Za-z0-9_]{22,255}"
    r"|\bglpat-[A-Za-z0-9_\-]{20,64}|\bhf_[A-Za-z0-9]{30,64}|\bxox[abeoprs]-[A-Za-z0-9\-]{10,255}"
    r"|\bAIza[0-9A-Za-z_\-]{35}"
    r"|\beyJ[A-Za-z0-9_\-]{10,4096}\.eyJ[A-Za-z0-9_\-]{10,8192}\.[A-Za-z0-9_\-]{10,4096}",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\[\"\\/bfnrt]")


def _card(match: re.Match[str]) -> str:
    digits = [int(char) for char in match.group() if char.isdigit()]
    return "[card]" if is_luhn(digits) else match.group()


def is_luhn(digits: Sequence[int]) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1, annex B)."""
    doubled = (2 * d - 9 if d > 4 else 2 * d for d in digits[-2::-2])
    return (sum(digits[::-2]) + sum(doubled)) % 10 == 0


RULES: dict[str, Rule] = {
    "email": lambda text: _EMAIL.sub("[email]", text),
    "key": lambda text: _KEY.sub("[key]", text),
    "card": lambda text: _CARD.sub(_card, text),
    "phone": lambda text: _PHONE.sub("[phone]", text),
}
"""Those that come with clawjax, in the order in which they look."""


class Redactor:
    """Applies the rules that a configuration names."""

    def __init__(self, names: Sequence[str], spell: Callable[[int], bytes] | None = None) -> None:
        """Find the rules.

        Args:
            names: of rules, and `package.module:function`s.
            spell: the bytes of a token, to see what a prompt given as ids says.

        Raises:
            ConfigError: a name that leads to no function.
        """
        own = [name for name in RULES if name in names]
        self._rules = {name: RULES[name] for name in own} | {
            name: _find(name) for name in names if name not in RULES
        }
        self._spell = spell

    def turn(self, turn: Turn) -> Turn:
        """The turn as it may be logged; the very same where there is nothing to blank out.

        Raises:
            LogError: a rule failed.
        """
        if not self._rules:
            return turn
        clean = replace(
            turn,
            messages=tuple(map(self._message, turn.messages)),
            tools_json=None if turn.tools_json is None else self._json(turn.tools_json),
            reply=self._message(turn.reply),
            sampling=self._sampling(turn),
        )
        if clean == turn and not self._is_spelled_by(turn):
            return turn
        return replace(
            clean,
            prompt_ids=(),
            response_ids=(),
            sampler_logprobs=(),
            sampler_logprobs_t1=(),
            token_versions=(),
        )

    def state(self, state: NextState) -> NextState:
        """A reaction as it may be logged.

        Raises:
            LogError: a rule failed.
        """
        if not self._rules:
            return state
        return replace(state, messages=tuple(map(self._message, state.messages)))

    def text(self, text: str) -> str:
        """A text without what the rules find.

        Raises:
            LogError: a rule failed.
        """
        for name, rule in self._rules.items():
            try:
                text = rule(text)
            except Exception as error:
                msg = f"gateway.redact={name} failed ({type(error).__name__}): nothing is logged"
                raise LogError(msg) from None  # what it says may be the secret
        return text

    def _message(self, message: Message) -> Message:
        return replace(
            message,
            content=self.text(message.content),
            reasoning=None if message.reasoning is None else self.text(message.reasoning),
            malformed=None if message.malformed is None else self.text(message.malformed),
            tool_call_id=None if message.tool_call_id is None else self.text(message.tool_call_id),
            tool_calls=tuple(map(self._call, message.tool_calls)),
        )

    def _call(self, call: ToolCall) -> ToolCall:
        """A call's id and that of its result are blanked out alike, so they still match."""
        return replace(call, call_id=self.text(call.call_id), arguments=self._json(call.arguments))

    def _sampling(self, turn: Turn) -> SamplingParams:
        sampling = turn.sampling
        grammar = sampling.grammar
        return replace(
            sampling,
            stop=tuple(map(self.text, sampling.stop)),
            grammar=None if grammar is None else replace(grammar, text=self.text(grammar.text)),
        )

    def _json(self, text: str) -> str:
        r"""JSON stays JSON: what is blanked out of a number makes it a string.

        It is written anew where rules find something, also in values that reading it leaves out
        because their name is repeated. Rules do not look at the escaped text: `\n@app.get` in it is
        a line that begins with `@app.get`, and no address.
        """
        unread: list[object] = []

        def read(pairs: list[tuple[str, object]]) -> dict[str, object]:
            last = dict(pairs)
            if len(last) < len(pairs):
                unread.extend(value for name, value in pairs if last[name] is not value)
            return last

        try:
            value = json.loads(text, object_pairs_hook=read, parse_float=self._number)
            clean = self._value(value)
            is_clean = clean == value and self._value(unread) == unread
        except (ValueError, RecursionError):
            return self.text(text)
        if is_clean:
            return text
        return json.dumps(clean, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def _number(self, written: str) -> float | str:
        """As it is written where a rule finds something in that: a float may have fewer digits."""
        return float(written) if self.text(written) == written else written

    def _value(self, value: object) -> object:
        match value:
            case str():
                return self.text(value)
            case bool() | None:
                return value
            case int() | float():
                shown = json.dumps(value)
                clean = self.text(shown)
                return value if clean == shown else clean
            case list():
                return [self._value(item) for item in cast("list[object]", value)]
            case dict():
                entries = cast("dict[str, object]", value).items()
                return {self.text(name): self._value(item) for name, item in entries}
            case _:
                return value

    def _is_spelled_by(self, turn: Turn) -> bool:
        r"""Whether a turn's tokens say what its texts do not.

        Templates write calls and tools as JSON. In it a secret is one that is there with escapes
        read, too: rules take the end of `\n@app.get` for an address.
        """
        if self._spell is None:
            return False
        for ids in (turn.prompt_ids, turn.response_ids):
            spelled = b"".join(map(self._spell, ids)).decode("utf-8", "replace")
            readings = [spelled, _unescaped(spelled)] if _has_json(turn) else [spelled]
            if all(self.text(reading) != reading for reading in readings):
                return True
        return False


def _has_json(turn: Turn) -> bool:
    calls = any(message.tool_calls for message in (*turn.messages, turn.reply))
    return calls or turn.tools_json is not None


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: json.loads(f'"{match.group()}"'), text)


def _find(name: str) -> Rule:
    if ":" not in name:
        module, _, function = name.rpartition(".")
        own = f"{module}:{function}" if module and function else "package.module:function"
        msg = (
            f"gateway.redact={name!r} is unknown: use {', '.join(RULES)}, or {own} for a function "
            "of your own that takes and returns a text, with a colon before its name (a regular "
            "expression has to stand in such a function)"
        )
        raise ConfigError(msg)
    found = find(name, "gateway.redact")
    if not callable(found):
        msg = f"gateway.redact={name!r} is no function: name one that takes and returns a text"
        raise ConfigError(msg)
    return cast(Rule, found)
