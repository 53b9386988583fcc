"""Whatever is drawn among the tokens that a grammar allows is of the grammar."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawjax.engine import constraint
from clawjax.engine.constraint import Grammars, masks
from clawjax.engine.grammar import compiled
from clawjax.errors import WireError
from clawjax.models.tiny import tiny_tokenizer
from clawjax.records import Grammar, GrammarKind

TOKENIZER = tiny_tokenizer()
VOCAB = TOKENIZER.vocab_size + 271
"""Some logits stand for no token, as in many models."""
GRAMMARS = Grammars(TOKENIZER, VOCAB)
SCHEMA = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "maxLength": 6},
        "depth": {"type": "integer", "minimum": 0, "maximum": 99},
        "kind": {"enum": ["file", "folder"]},
    },
    "required": ["path", "kind"],
    "additionalProperties": False,
}


def tag(form: object) -> Grammar:
    return Grammar(GrammarKind.STRUCTURAL_TAG, json.dumps({"format": form}))


def schema(value: object) -> Grammar:
    return Grammar(GrammarKind.JSON_SCHEMA, json.dumps(value))


def test_replies_of_one_grammar_do_not_meet():
    grammar = Grammar(GrammarKind.REGEX, "ab+")
    first, second = GRAMMARS.constraint(grammar), GRAMMARS.constraint(grammar)
    before = masks([second], VOCAB)
    first.take(TOKENIZER.encode("a")[0])
    for other in (second, GRAMMARS.constraint(grammar)):
        np.testing.assert_array_equal(masks([other], VOCAB), before)
    assert not np.array_equal(masks([first], VOCAB), before)


def written(grammar: Grammar, seed: int, limit: int = 600) -> str:
    """A reply of an evenly undecided policy, to its end."""
    constraint = GRAMMARS.constraint(grammar)
    rng = np.random.default_rng(seed)
    ids: list[int] = []
    while len(ids) < limit:
        mask = masks([constraint], VOCAB)
        assert mask is not None
        assert constraint.trouble is None
        bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
        allowed = np.flatnonzero(bits[:VOCAB])
        assert allowed.max() < TOKENIZER.vocab_size
        ends = [token for token in allowed if token in TOKENIZER.eos_ids]
        token = int(ends[0] if ends else rng.choice(allowed))
        if ends:
            return TOKENIZER.decode(ids)
        constraint.take(token)
        ids.append(token)
    raise AssertionError("it does not come to an end")


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32))
def test_a_schema_is_kept_to(seed: int) -> None:
    value = json.loads(written(schema(SCHEMA), seed))
    assert {"path", "kind"} <= set(value) <= {"path", "kind", "depth"}
    assert value["kind"] in ("file", "folder")
    assert len(value["path"]) <= 6
    assert 0 <= value.get("depth", 0) <= 99


def test_white_space_is_bounded() -> None:
    for seed in range(10):
        text = written(schema(SCHEMA), seed)
        assert not re.search(r"\s{18}", re.sub(r'"[^"]*"', "", text))


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (Grammar(GrammarKind.REGEX, r"[ab]{3}/\d"), r"[ab]{3}/\d"),
        (Grammar(GrammarKind.LARK, 'start: "x" /[0-9]{2}/'), r"x\d\d"),
        (tag({"type": "const_string", "value": 'a "b"\n\\<end>'}), r'a "b"\n\\<end>'),
        (tag({"type": "regex", "pattern": "a/b|c"}), "a/b|c"),
        (
            tag({"type": "or", "elements": [
                {"type": "const_string", "value": "yes"},
                {"type": "sequence", "elements": [
                    {"type": "const_string", "value": "n"}, {"type": "regex", "pattern": "o{1,3}"}
                ]},
            ]}),
            r"yes|no{1,3}",
        ),
        (
            tag({"type": "tag", "begin": "<t>", "content": {"type": "json_schema",
                 "json_schema": {"type": "boolean"}}, "end": "</t>"}),
            r"<t>(true|false)</t>",
        ),
        (
            tag({"type": "tags_with_separator", "separator": "; ", "at_least_one": True, "tags": [
                {"type": "tag", "begin": "[", "content": {"type": "regex", "pattern": "x"},
                 "end": "]"}
            ]}),
            r"\[x\](; \[x\])*",
        ),
        (
            tag({"type": "qwen_xml_parameter", "json_schema": {
                "properties": {"a": {"type": "integer"}, "b": {"enum": ["u", "v"]}},
                "required": ["a"]}}),
            r"<parameter=a>\n-?\d+\n</parameter>\n(<parameter=b>\n[uv]\n</parameter>\n)?",
        ),
        (
            tag({"type": "qwen_xml_parameter", "json_schema": {
                "$defs": {"Size": {"enum": ["s", "l"], "type": "string"},
                          "Part": {"type": "object", "properties": {"n": {"type": "boolean"}},
                                   "required": ["n"], "additionalProperties": False}},
                "properties": {
                    "a": {"$ref": "#/$defs/Size"},
                    "b": {"type": "array", "items": {"$ref": "#/$defs/Part"},
                          "minItems": 1, "maxItems": 1},
                    "c": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                    "d": {"const": 3},
                },
                "required": ["a", "b", "c", "d"]}}),
            r"<parameter=a>\n[sl]\n</parameter>\n<parameter=b>\n\[\s*\{\s*\"n\"\s*:\s*(true|false)\s*\}"
            r"\s*\]\n</parameter>\n<parameter=c>\n(-?\d+|null)\n</parameter>\n"
            r"<parameter=d>\n3\n</parameter>\n",
        ),
    ],
)  # fmt: skip
def test_every_kind_is_understood(grammar: Grammar, pattern: str) -> None:
    for seed in range(5):
        assert re.fullmatch(pattern, written(grammar, seed))


@pytest.mark.parametrize(
    "value",
    [
        {},
        True,
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"$ref": "#/definitions/Text"},
    ],
)
def test_what_may_be_text_is_written_without_quotes(value: object) -> None:
    schema = {"definitions": {"Text": {"type": "string"}}, "properties": {"a": value},
              "required": ["a"]}  # fmt: skip
    constraint = GRAMMARS.constraint(tag({"type": "qwen_xml_parameter", "json_schema": schema}))
    for token in TOKENIZER.encode("<parameter=a>\nsome words\n</parameter>\n"):
        constraint.take(token)
    assert constraint.trouble is None


def test_any_text_goes_up_to_the_first_end() -> None:
    form = {"type": "tag", "begin": "<q>", "content": {"type": "any_text"}, "end": "</q>"}
    for text, is_of_it in (("<q>a\n<b></q>", True), ("<q></q>", True), ("<q></q></q>", False)):
        constraint = GRAMMARS.constraint(tag(form))
        for token in TOKENIZER.encode(text):
            constraint.take(token)
        assert (constraint.trouble is None) is is_of_it


def parameters(of: object) -> Grammar:
    return tag({"type": "qwen_xml_parameter", "json_schema": of})


@pytest.mark.parametrize(
    "grammar",
    [
        schema({"type": "nothing"}),
        schema([]),
        Grammar(GrammarKind.JSON_SCHEMA, "{"),
        Grammar(GrammarKind.REGEX, "("),
        Grammar(GrammarKind.LARK, "start: nowhere"),
        Grammar(GrammarKind.STRUCTURAL_TAG, "{}"),
        tag({"type": "triggered_tags"}),
        tag({"type": ["sequence"]}),
        tag({"type": "sequence"}),
        tag({"type": "tag", "begin": "<"}),
        tag("text"),
        parameters({"properties": ["x"]}),
        parameters({"properties": {"x": {}}, "required": 5}),
        parameters({"properties": {"x": {"enum": 5}}}),
        schema({"type": "integer", "multipleOf": 300_007}),
    ],
)
def test_what_cannot_be_used_is_refused(grammar: Grammar) -> None:
    with pytest.raises(WireError, match="grammar") as caught:
        GRAMMARS.constraint(grammar)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("dear", "value", "limit"),
    [
        ({"type": "integer", "multipleOf": 10_007}, 10_007, 10_000),
        ({"type": "integer", "multipleOf": -99_991}, 99_991, 10_000),
        ({"type": "number", "multipleOf": 999.99}, 99_999, 10_000),
        ({"allOf": [{"multipleOf": 701}, {"multipleOf": 709}]}, 497_009, 10_000),
        ({"$defs": {"A": {"multipleOf": 701}}, "$ref": "#/$defs/A", "multipleOf": 709}, 497_009,
         10_000),
        ({"properties": {"multipleOf": {"items": [{"multipleOf": 10_007}]}}}, 10_007, 10_000),
        ({"allOf": [{"multipleOf": 0.9973}, {"multipleOf": 9973}]}, 99_730_000,
         430_659),
        ({"multipleOf": 10**400}, 10**12, 10_000),
    ],
)  # fmt: skip
def test_multiples_that_take_long_to_count_are_refused(dear: object, value: int, limit: int):
    called = {"type": "tag", "begin": "<", "end": ">"}
    whole = tag(called | {"content": {"type": "json_schema", "json_schema": dear}})
    for grammar in (schema(dear), whole, parameters({"properties": {"x": dear}})):
        with pytest.raises(WireError, match=rf"is {value} or more, and may be {limit}: use sm"):
            GRAMMARS.constraint(grammar)


def test_everyday_multiples_are_kept_to() -> None:
    money = {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 9}
    quarters = {"type": "integer", "multipleOf": 15, "minimum": 1, "maximum": 99}
    names = ("money", "quarters", "thousands")
    values = (money, quarters, {"multipleOf": 500, "type": "integer", "maximum": 2000})
    both = {"type": "object", "properties": dict(zip(names, values, strict=True)),
            "required": names, "additionalProperties": False}  # fmt: skip
    said = json.loads(written(schema(both), seed=3))
    assert said["quarters"] % 15 == 0
    assert said["thousands"] % 500 == 0
    assert said["money"] * 100 == pytest.approx(round(said["money"] * 100))


async def test_a_grammar_is_read_once_for_each_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Grammar] = []

    def counted(grammar: Grammar) -> str:
        read.append(grammar)
        return compiled(grammar)

    monkeypatch.setattr(constraint, "compiled", counted)
    grammars = Grammars(TOKENIZER, VOCAB)
    for scope in ("a", "a", "b", "a", "b"):
        assert (await grammars.begin(schema(True), scope)).trouble is None
    grammars.close()
    assert len(read) == 2


async def test_grammars_are_read_where_nothing_else_waits() -> None:
    is_over = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    occupied = asyncio.ensure_future(asyncio.to_thread(is_over.wait, 30))
    grammars = Grammars(TOKENIZER, VOCAB)
    async with asyncio.timeout(20):
        assert (await grammars.begin(schema({"type": "boolean"}))).trouble is None
    assert not occupied.done()
    is_over.set()
    await occupied
    grammars.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        await grammars.begin(schema(True))


def test_rows_without_a_grammar_may_say_everything() -> None:
    mask = masks([None, GRAMMARS.constraint(schema(True))], VOCAB)
    assert mask is not None
    assert (mask[0] == -1).all()
    assert not (mask[1] == -1).all()
    assert masks([None, None], VOCAB) is None


def test_a_token_that_is_not_allowed_is_trouble() -> None:
    constraint = GRAMMARS.constraint(schema({"type": "boolean"}))
    constraint.take(TOKENIZER.encode("{")[0])
    assert constraint.trouble is not None
