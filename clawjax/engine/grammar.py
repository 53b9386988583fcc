"""Grammars as llguidance reads them. Pure.

Owns the part of XGrammar's structural tags that is understood: `sequence`, `or`, `const_string`,
`regex`, `json_schema`, `qwen_xml_parameter`, `tag` (whose content may be `any_text`) and
`tags_with_separator`. They say in plain JSON what a family's tool call looks like, SGLang takes
them as they are, and here each becomes a rule of a Lark grammar. Format: XGrammar's documentation,
"Structural Tag".

JSON may have a space, or a line break and up to 16 spaces, wherever it may have white space: small
models would fill a reply with more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

from clawjax.engine.multiples import multiples_problem
from clawjax.errors import WireError
from clawjax.json_schema import DEFINITIONS, resolved, types_of
from clawjax.records import Grammar, GrammarKind

__all__ = ["compiled"]

Json = Mapping[str, Any]

_SPACE = r"( |\n {0,16})?"
_DEEPEST = 32


def compiled(grammar: Grammar) -> str:
    """A grammar as text for `llguidance.LLMatcher`, which has the last word on whether it is one.

    Raises:
        WireError: it is not of its kind, uses a part that is not understood, or would take too
            long to prepare.
    """
    match grammar.kind:
        case GrammarKind.JSON_SCHEMA:
            return f"start: {_json_rule(_parsed(grammar.text))}"
        case GrammarKind.REGEX:
            return f"start: {_pattern(grammar.text)}"
        case GrammarKind.LARK:
            return grammar.text
        case GrammarKind.STRUCTURAL_TAG:
            tag = _parsed(grammar.text)
            if not isinstance(tag, Mapping) or "format" not in tag:
                _refuse('a structural tag is {"type": "structural_tag", "format": ...}')
            rules = _Rules()
            start = rules.of(tag["format"], 0)
            return "\n".join([f"start: {start}", *rules.lines])


class _Rules:
    """Rules of a Lark grammar, each named by its number."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def of(self, form: object, depth: int) -> str:
        """The name of the rule, or the terminal, for a format.

        Raises:
            WireError: it is not understood.
        """
        if depth > _DEEPEST:
            _refuse(f"formats are nested more than {_DEEPEST} deep")
        if not isinstance(form, Mapping):
            _refuse("a format is a JSON object with a type")
        known: dict[str, Callable[[Json, int], str]] = {
            "sequence": lambda f, d: " ".join(self._all(f, "elements", d)) or '""',
            "or": lambda f, d: " | ".join(self._all(f, "elements", d)),
            "const_string": lambda f, d: _quoted(_text(f, "value")),
            "regex": lambda f, d: _pattern(_text(f, "pattern")),
            "json_schema": lambda f, d: _json_rule(f.get("json_schema", {})),
            "qwen_xml_parameter": lambda f, d: self._parameters(f.get("json_schema", {})),
            "tag": self._tag,
            "tags_with_separator": self._tags,
        }
        kind = form.get("type")
        if not isinstance(kind, str) or kind not in known:
            _refuse(f"format {str(kind)[:40]!r} is not one of {', '.join(known)}")
        return self._rule(known[kind](cast(Json, form), depth + 1))

    def _rule(self, body: str, attributes: str = "") -> str:
        name = f"r{len(self.lines)}"
        self.lines.append(f"{name}{attributes}: {body}")
        return name

    def _all(self, form: Json, key: str, depth: int) -> list[str]:
        entries = form.get(key)
        if not isinstance(entries, list):
            _refuse(f"{form.get('type')!r} needs a list of {key}")
        return [self.of(entry, depth) for entry in cast("list[object]", entries)]

    def _tag(self, form: Json, depth: int) -> str:
        begin, end = _text(form, "begin"), _text(form, "end")
        content: object = form.get("content")
        if isinstance(content, Mapping) and content.get("type") == "any_text":
            return f"{_quoted(begin)} {self._until(end)}"
        return f"{_quoted(begin)} {self.of(content, depth)} {_quoted(end)}"

    def _tags(self, form: Json, depth: int) -> str:
        one = self._rule(" | ".join(self._all(form, "tags", depth)))
        more = f" ({_quoted(_text(form, 'separator'))} {one})*"
        whole = one if form.get("stop_after_first") else one + more
        return whole if form.get("at_least_one") else f"({whole})?"

    def _until(self, end: str) -> str:
        """Any text up to and including the first `end`."""
        return self._rule(f"/(?s:.*)({_escaped(end)})/", "[lazy]")

    def _parameters(self, schema: object) -> str:
        """`<parameter=NAME>`, a line with the value, `</parameter>`, in the schema's order."""
        known: Json = schema if isinstance(schema, Mapping) else {}
        required = _keyword(known, "required", list) or ()
        parts = [
            rule if name in required else f"({rule})?"
            for name, value in (_keyword(known, "properties", Mapping) or {}).items()
            for rule in [self._parameter(name, value, known)]
        ]
        return " ".join(parts) or '""'

    def _parameter(self, name: str, schema: object, root: Json) -> str:
        """Text is written as it is, without quotes, and everything else as JSON."""
        value = resolved(schema, root)
        begin, end = _quoted(f"<parameter={name}>\n"), "\n</parameter>\n"
        choices = [value["const"]] if "const" in value else _keyword(value, "enum", list)
        if choices:
            plain = (c if isinstance(c, str) else json.dumps(c) for c in choices)
            return self._rule(f"{begin} ({' | '.join(map(_quoted, plain))}) {_quoted(end)}")
        if "string" in types_of(value, root):
            return self._rule(f"{begin} {self._until(end)}")
        shared = {key: root[key] for key in DEFINITIONS if key in root}
        return self._rule(f"{begin} {_json_rule({**shared, **value})} {_quoted(end)}")


def _keyword(schema: Json, name: str, kind: type) -> Any:
    """A keyword's value; None where it is not there."""
    value = schema.get(name)
    if value is not None and not isinstance(value, kind):
        _refuse(f"{name} of a schema is {'a list' if kind is list else 'an object'}")
    return value


def _json_rule(schema: object) -> str:
    spaced = schema if isinstance(schema, bool) else {"x-guidance": {"whitespace_pattern": _SPACE}}
    if isinstance(schema, Mapping):
        spaced = {**schema, "x-guidance": {"whitespace_pattern": _SPACE}}
    elif not isinstance(schema, bool):
        _refuse("a JSON schema is an object or a boolean")
    return f"%json {json.dumps(spaced)}"


def _parsed(text: str) -> Any:
    """JSON in which nothing is too dear."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(f"it is no JSON ({error})", error)
    problem = multiples_problem(parsed)
    if problem is not None:
        _refuse(problem)
    return parsed


def _text(form: Json, key: str) -> str:
    value = form.get(key)
    if not isinstance(value, str):
        _refuse(f"{form.get('type')!r} needs a text {key!r}")
    return value


def _quoted(text: str) -> str:
    return json.dumps(text)


def _pattern(text: str) -> str:
    """A regular expression between slashes."""
    return "/" + re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", text).replace("\n", r"\n") + "/"


def _escaped(text: str) -> str:
    """A text as part of a regular expression between slashes."""
    return re.sub(r"([.^$*+?()\[\]{}|\\/])", r"\\\1", text).replace("\n", r"\n")


def _refuse(why: str, cause: Exception | None = None) -> NoReturn:
    msg = f"The grammar cannot be used: {why}."
    raise WireError(msg, code="invalid_grammar", param="grammar") from cause
