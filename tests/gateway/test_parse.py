"""Text that is being written, cut anywhere, parses as the whole does."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.gateway.parse import ReplyParser, new_call_id
from clawjax.rendering.formats.reasoning import REASONING
from clawjax.rendering.formats.registry import FORMATS

from .calls import CALL, CAT, LS, TOOLS, read, told

EXAMPLES = [
    ("hermes", CALL, [LS]),
    ("hermes", f'{CALL}\n<tool_call>\n{{"name": "cat"}}\n</tool_call>', [LS, CAT]),
    (
        "hermes",
        '<tool_call>[{"name": "ls", "arguments": {"path": "/tmp"}}, {"name": "cat"}]</tool_call>',
        [LS, CAT],
    ),
    ("hermes", '<tool_call>{"arguments": {"path": "/tmp"}, "name": "ls"}</tool_call>', [LS]),
    ("hermes", '<tool_call>{"name": "ls", "arguments": "{\\"path\\": \\"/tmp\\"}"}', [LS]),
    ("hermes", '<tool_call>{"name": "cat", "arguments": null}</tool_call>', [CAT]),
    (
        "hermes",
        '<tool_call>{"name": "cat", "arguments": {"a": ["</tool_call>", -1.5e3, null, "\\u00fc"]}}'
        "</tool_call>",
        [("cat", {"a": ["</tool_call>", -1500.0, None, "ü"]})],
    ),
    (
        "qwen_xml",
        "<tool_call>\n<function=ls>\n<parameter=path>\n/tmp\n</parameter>\n</function>\n</tool_call>",
        [LS],
    ),
    (
        "qwen_xml",
        '<function=ls>\n<parameter=path>\n a\n"b"\n\n</parameter>\n<parameter=n>\n3\n</parameter>\n'
        "</function>\n</tool_call>\n<tool_call>\n<function=cat>\n</function>\n</tool_call>",
        [("ls", {"path": ' a\n"b"\n', "n": 3}), CAT],
    ),
    ("llama3_json", '{"name": "ls", "parameters": {"path": "/tmp"}}', [LS]),
    (
        "llama3_json",
        '<|python_tag|>{"type": "function", "name": "ls", "parameters": {"path": "/tmp"}};'
        ' {"name": "cat", "parameters": {}}',
        [LS, CAT],
    ),
    ("llama3_pythonic", '[ls(path="/tmp"), cat()]', [LS, CAT]),
    (
        "llama3_pythonic",
        "<|python_start|>[cat(a=[1, 'x, y)', {'k': None}], b=true, c = -2.5,)]<|python_end|>",
        [("cat", {"a": [1, "x, y)", {"k": None}], "b": True, "c": -2.5})],
    ),
    (
        "mistral",
        '[TOOL_CALLS] [{"name": "ls", "arguments": {"path": "/tmp"}}, {"name": "cat", '
        '"arguments": {}, "id": "123456789"}]',
        [LS, CAT],
    ),
    (
        "mistral",
        '[TOOL_CALLS]ls[ARGS]{"path": "/tmp"}[TOOL_CALLS]cat[CALL_ID]abc123456[ARGS]{}',
        [LS, CAT],
    ),
    ("mistral", '[TOOL_CALLS]ls{"path": "/tmp"}', [LS]),
    ("json", '{"name": "ls", "arguments": {"path": "/tmp"}}', [LS]),
    ("json", '[{"name": "ls", "arguments": {"path": "/tmp"}}, {"name": "cat"}]', [LS, CAT]),
    ("json", '```json\n{"name": "ls", "arguments": {"path": "/tmp"}}\n```', [LS]),
]


@pytest.mark.parametrize(("form", "text", "calls"), EXAMPLES)
def test_every_family_is_read(form, text, calls):
    content, _, found, malformed = read(text, form=form)
    assert (told(found), content, malformed) == (calls, "", None)
    assert read(*text, form=form) == read(text, form=form)


@pytest.mark.parametrize(("form", "text", "calls"), EXAMPLES)
def test_text_behind_a_call_is_text(form, text, calls):
    content, _, found, _ = read(f"{text}\nDone, [really] {{}}.", form=form)
    assert (content.lstrip(), told(found)) == ("Done, [really] {}.", calls)


@pytest.mark.parametrize(("form", "text", "calls"), EXAMPLES)
def test_text_before_a_call_is_text(form, text, calls):
    is_bare = text[0] in FORMATS[form].bare
    content, _, found, _ = read(f"I look.\n{text}", form=form)
    assert content == (f"I look.\n{text}" if is_bare else "I look.")
    assert told(found) == ([] if is_bare else calls)


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_format_writes_it_reads(name):
    arguments = {"path": "a \"b\"\n'c' </x>", "n": 3}
    text = FORMATS[name].written("ls", json.dumps(arguments))
    assert told(read(text, form=name)[2]) == [("ls", arguments)]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8") | st.sampled_from("\\/'\"\U0001f600\n,)]}")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(VALUES, st.sampled_from([json.dumps, repr, lambda v: json.dumps(v, ensure_ascii=False)]))
def test_a_pythonic_value_may_be_json_and_may_be_pythons(value, write):
    text = f"[cat(a={write(value)}, b=[{write(value)}, 'c'])]"
    assert told(read(text, form="llama3_pythonic")[2]) == [("cat", {"a": value, "b": [value, "c"]})]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r'"\ud83d\ude00 hi"', "\U0001f600 hi"),
        (r'"a\/b"', "a/b"),
        (r'"\x41\'"', "A'"),
        ('[{"x": true}, {"y": None}]', [{"x": True}, {"y": None}]),
        ("{'a': null, 'b': (False, false)}", {"a": None, "b": [False, False]}),
        ('"true"', "true"),
    ],
)
def test_a_pythonic_value_is_read_as_those_who_write_it_mean_it(written, value):
    text = f"[cat(a={written})]"
    _, _, calls, malformed = read(*text, form="llama3_pythonic")
    assert (told(calls), malformed) == ([("cat", {"a": value})], None)


def test_white_space_at_a_call_is_dropped():
    assert read(f"I look.\n{CALL}\n{CALL}\n")[0] == "I look."
    assert read(f"I look.\n{CALL}\nDone.\n")[0] == "I look.\nDone."


def test_without_tools_tags_are_text():
    assert read(CALL, form=None) == (CALL, "", [], None)


def test_text_leaves_as_soon_as_it_is_certain():
    parser = ReplyParser(FORMATS["hermes"], None, tools=TOOLS)
    assert [d.content for d in parser.push("Hello <")] == ["Hello"]
    assert [d.content for d in parser.push("b> and")] == [" <b> and"]


def test_a_call_leaves_name_first_and_arguments_as_they_come():
    parser = ReplyParser(FORMATS["hermes"], None, tools=TOOLS, call_id=lambda: "c1")
    assert parser.push('<tool_call>\n{"name": "ls", "arg') == []
    (begun,) = parser.push('uments": {')
    assert begun.call == (0, "{", "c1", "ls")
    (grown,) = parser.push('"path": "/t')
    assert grown.call == (0, '"path": "/t', None, None)
    assert [d.call.arguments for d in parser.push('mp"}}</tool_call>')] == ['mp"}']
    (other,) = parser.push('<tool_call>{"name": "cat"}')
    assert other.call == (1, "{}", "c1", "cat")


def test_text_parameters_leave_as_they_come():
    parser = ReplyParser(FORMATS["qwen_xml"], None, tools=TOOLS)
    parser.push("<tool_call><function=ls><parameter=path>\n")
    deltas = parser.push("a long path with many characters")
    assert "".join(d.call.arguments for d in deltas).startswith("a long path")


def test_a_parameter_whose_type_is_null_is_text():
    text = "<function=ls><parameter=any>\n3\n</parameter></function>"
    assert told(read(text, form="qwen_xml")[2]) == [("ls", {"any": "3"})]


@pytest.mark.parametrize(
    ("schema", "written", "value"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "12345", "12345"),
        ({"type": ["string", "null"]}, '{"a": 1}', '{"a": 1}'),
        ({"type": ["string", "null"]}, '"quoted"', '"quoted"'),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "array"]}, '["a", "b"]', ["a", "b"]),
        ({"$ref": "#/$defs/Point"}, '{"x": 1}', {"x": 1}),
        ({"allOf": [{"$ref": "#/$defs/Point"}]}, '{"x": 1}', {"x": 1}),
        ({"enum": [1, 2]}, "1", 1),
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"type": "boolean"}, "True", True),
    ],
)
def test_a_parameter_is_of_a_type_that_its_schema_has(schema, written, value):
    tools = {"ls": {"$defs": {"Point": {"type": "object"}}, "properties": {"a": schema}}}
    text = f"<function=ls><parameter=a>\n{written}\n</parameter></function>"
    assert told(read(text, form="qwen_xml", tools=tools)[2]) == [("ls", {"a": value})]


def test_thoughts_are_kept_apart():
    text = f"<think>\nhm, <tool_call>?\n</think>\n\nYes <think> no {CALL}"
    content, reasoning, calls, _ = read(text, reasoning="think")
    assert (content, reasoning, len(calls)) == ("Yes <think> no", "hm, <tool_call>?", 1)
    assert read("so\n</think>\nyes", reasoning="think", opens_reasoning=True)[:2] == ("yes", "so")
    assert read("<think>never done", reasoning="think")[:2] == ("", "never done")


@pytest.mark.parametrize("name", REASONING)
def test_every_family_of_thoughts_is_read(name):
    begin, end = REASONING[name]
    text = f"{begin}\nhm\n{end}\n\nyes"
    assert read(text, reasoning=name)[:2] == ("yes", "hm")
    assert read(*text, reasoning=name) == read(text, reasoning=name)


def test_a_bare_call_may_follow_a_thought():
    text = '<think>hm</think>\n{"name": "cat", "parameters": {}}'
    assert told(read(text, form="llama3_json", reasoning="think")[2]) == [CAT]
    thought = "[THINK]hm[/THINK][cat()]"
    assert told(read(thought, form="llama3_pythonic", reasoning="mistral")[2]) == [CAT]


FRAGMENTS = sorted({
    "a", " ", "\n", "<", "<think>", "</think>", "<tool_call>", "</tool_call>", '"', "}", "]", "{",
    "[", "ü", "</", ";", ",", "[TOOL_CALLS]", "ls", "[ARGS]", "<|python_tag|>", "```json", "```",
    '{"name": "ls", "arguments": ', '{"path": "/tmp"}', "<function=ls>", "<parameter=n>", "1",
    "</parameter>", "</function>", "[ls(", "n=", ")", "'", *(text for _, text, _ in EXAMPLES),
})  # fmt: skip
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)
CUTS = st.lists(st.integers(0, 300), max_size=8)


@given(st.sampled_from(list(FORMATS)), TEXTS, CUTS, st.booleans(), st.booleans())
def test_cuts_change_nothing(form, text, cuts, has_reasoning, is_cut):
    points = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(points)]
    options = {"form": form, "reasoning": "think" if has_reasoning else None, "is_cut": is_cut}
    whole = read(text, **options)
    assert read(*pieces, **options) == whole
    assert read(*text, **options) == whole


@given(st.sampled_from(list(FORMATS)), TEXTS)
def test_text_without_calls_is_kept_whole(form, text):
    content, _, calls, _ = read(text, form=form)
    if not calls:
        assert content == (text.lstrip() or text)


@given(st.sampled_from(list(FORMATS)), TEXTS)
def test_calls_that_are_not_malformed_have_json_arguments(form, text):
    _, _, calls, malformed = read(text, form=form)
    if malformed is None:
        for _, _, arguments in calls:
            json.loads(arguments)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (None, "No tags <tool_call> here"),
        ("hermes", "A <b>bold</b> tag, <tool_calls>, \n and < <tool_call>{no call}</tool_call>.\n"),
        ("hermes", '<tool_call>\n{"nam: bad stuff'),
        ("qwen_xml", "<function> is a tag, <function=ls> is not <tool_call>"),
        ("llama3_json", ' {"answer": {"a": 1}} <|python'),
        ("llama3_pythonic", "[1, 2,  3] and [ls(n)]"),
        ("mistral", "[TOOL_CALL] or [TOOL_CALLS] {}"),
        ("json", '{"name": "Bob", "arguments": {"a": 1}}'),
        ("json", 'Here:\n```json\n{"answer": 1}\n```\n```'),
    ],
)
@pytest.mark.parametrize("reasoning", [None, "think"])
def test_of_a_text_that_is_gone_on_from_only_what_is_new_is_given(form, text, reasoning):
    for at in range(1, len(text) + 1):
        options = {"form": form, "reasoning": reasoning, "begun": text[:at]}
        content, thought, calls, _ = read(*text[at:], **options)
        assert (content, thought, calls) == (text[at:], "", []), at
        assert read(text[at:], **options)[0] == text[at:], at


@pytest.mark.parametrize(("form", "call", "calls"), EXAMPLES)
def test_of_a_call_that_is_gone_on_from_everything_is_given_and_of_text_what_is_new(
    form, call, calls
):
    before = "" if call[0] in FORMATS[form].bare else "Look:"
    text = f"{before}{call}\nDone, [really] {{}}."
    whole, _, _, malformed = read(text, form=form)
    behind = whole.removeprefix(before)
    for at in range(1, len(text) + 1):
        content, _, found, wrong = read(*text[at:], form=form, begun=text[:at])
        assert (told(found), wrong) == (calls, malformed), at
        new = len(text) - max(at, len(text) - len(behind))
        assert content == before[at:] + behind[len(behind) - new :], at


@given(st.sampled_from(list(FORMATS)), TEXTS, st.integers(1, 300), CUTS)
def test_nothing_that_the_client_has_is_given_again(form, text, at, cuts):
    begun, rest = text[:at], text[at:]
    points = [0, *sorted(min(cut, len(rest)) for cut in cuts), len(rest)]
    pieces = [rest[a:b] for a, b in itertools.pairwise(points)]
    content, _, calls, malformed = read(*pieces, form=form, begun=begun)
    _, _, whole_calls, whole_malformed = read(text, form=form)
    assert ([call[1:] for call in calls], malformed) == (
        [call[1:] for call in whole_calls],
        whole_malformed,
    )
    if not calls:
        assert content == (rest if begun.strip() else rest.lstrip() or rest)


def test_a_thought_that_is_gone_on_from_is_given_from_there():
    text = "<think>\nhm, </thin\n</think>\n\nYes </think>"
    for at in range(1, len(text)):
        content, thought, _, _ = read(*text[at:], reasoning="think", begun=text[:at])
        assert "hm, </thin".endswith(thought)
        assert "Yes </think>".endswith(content)
        assert content == "Yes </think>" or at > text.index("Yes")


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="<[{`", exclude_categories=("Cs",)))


@given(WORDS, WORDS)
def test_text_around_a_call_survives(before, after):
    content, _, calls, _ = read(f"{before}{CALL}{after}")
    assert told(calls) == [LS]
    gap = after[: len(after) - len(after.lstrip())] if before.strip() or after.strip() else ""
    expected = f"{before.strip()}{gap if after.strip() else ''}{after.strip()}"
    assert content.strip() == expected.strip()


def test_call_ids_are_nine_letters_and_digits():
    assert new_call_id().isalnum()
    assert len(new_call_id()) == 9
    assert new_call_id() != new_call_id()
