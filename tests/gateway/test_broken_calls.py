"""Calls that are not as their format wants them: repaired, cut off, or text."""

import json

import pytest

from .calls import CALL, LS, read, told


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"name": "ls", "arguments": {"path": "a\nb"}}', {"path": "a\nb"}),
        ('{"name": "ls", "arguments": {"path": ["a", "b",],},}', {"path": ["a", "b"]}),
        ('{"name": "ls", "arguments": {"path": {"a": [1, 2', {"path": {"a": [1, 2]}}),
        ('{"name": "ls", "arguments": {"path": "/tmp"}}}', {"path": "/tmp"}),
        ("{'name': 'ls', 'arguments': {'path': True}}", {"path": True}),
        ('{"name": "ls", "arguments": {"path": \'x\'}}', {"path": "x"}),
        ('{"function": {"name": "ls", "arguments": {"n": 1}}}', {"n": 1}),
    ],
)
@pytest.mark.parametrize("end", ["\n</tool_call>", "</tool_call>\n", ""])
def test_what_can_be_understood_in_one_way_is_repaired(text, arguments, end):
    content, _, calls, malformed = read(f"<tool_call>\n{text}{end}")
    assert (told(calls), content, malformed) == ([("ls", arguments)], "", None)


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>{not json}</tool_call> and more",
        "<tool_call>[1]</tool_call>",
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>{"name": "ls", "argu',
        '<tool_call>{"name": ls, "arguments": {}}</tool_call>',
        "<tool_call>",
    ],
)
def test_what_is_no_call_stays_text_and_is_noted(text):
    content, _, calls, malformed = read(text)
    assert (content, calls) == (text, [])
    assert malformed


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("hermes", "a < b and <tool"),
        ("hermes", "  spaces around  \n"),
        ("llama3_json", '{"name": "unknown", "parameters": {}}'),
        ("llama3_json", '{"answer": 4}'),
        ("llama3_json", "{"),
        ("llama3_pythonic", "[1] says that [ls] is"),
        ("llama3_pythonic", "[link](ls)"),
        ("json", "[1, 2]"),
        ("json", 'Like this:\n```json\n{"a": 1}\n```\nYes.'),
        ("mistral", "[TOOL_CALL] {}"),
        ("qwen_xml", "<function> is a tag"),
    ],
)
def test_what_may_well_be_text_is_text(form, text):
    content, _, calls, malformed = read(text, form=form)
    assert (content, calls, malformed) == (text.lstrip(), [], None)


def test_a_good_call_behind_a_bad_one_is_read():
    bad = "<tool_call>\nls /tmp\n"
    content, _, calls, malformed = read(bad + CALL)
    assert (content, told(calls)) == (bad.rstrip(), [LS])
    assert malformed


@pytest.mark.parametrize(
    ("form", "text", "arguments"),
    [
        ("hermes", '<tool_call>{"name": "ls", "arguments": {"path": "/t', '{"path": "/t'),
        ("hermes", '<tool_call>{"name": "ls", "arguments": {"path": "/t"', '{"path": "/t"'),
        ("hermes", '<tool_call>{"name": "ls", "arguments": {"n": 1', '{"n": 1'),
        ("llama3_json", '{"name": "ls", "parameters": {"n": [', '{"n": ['),
        ("llama3_pythonic", "[ls(n=3, path='/t", '{"n": 3, path=\'/t'),
        ("mistral", '[TOOL_CALLS]ls[ARGS]{"n": 4', '{"n": 4'),
        ("qwen_xml", "<function=ls><parameter=path>\n/tmp/fi", '{"path": "/tmp/fi'),
        ("json", '{"name": "ls", "arguments": {"n": 4}', None),
    ],
)
def test_a_call_that_is_cut_off_keeps_what_there_is(form, text, arguments):
    content, _, calls, malformed = read(text, form=form, is_cut=True)
    assert content == ""
    assert [name for _, name, _ in calls] == ["ls"]
    assert malformed
    assert calls[0][2] == ('{"n": 4}' if arguments is None else arguments)


def test_a_complete_call_counts_though_its_tag_is_cut_off():
    text = CALL.removesuffix("_call>")
    content, _, calls, malformed = read(text, is_cut=True)
    assert (content, told(calls), malformed) == ("", [LS], None)


@pytest.mark.parametrize(
    ("form", "text", "arguments", "behind"),
    [
        (
            "hermes",
            '<tool_call>{"name": "ls", "arguments": {"path": /tmp}}</tool_call> so',
            '{"path": /tmp}}',
            " so",
        ),
        ("llama3_pythonic", "[ls(path=@@, n=1)]", "{path=@@, n=1)]", ""),
        ("llama3_pythonic", "[ls(n=1, path = /tmp)]", '{"n": 1, path = /tmp)]', ""),
        ("llama3_pythonic", "[ls(n=1, path '/tmp')]", "{\"n\": 1, path '/tmp')]", ""),
        ("llama3_pythonic", "[cat(), ls('/tmp')]", "{'/tmp')]", ""),
    ],
)
def test_a_call_that_goes_wrong_keeps_its_arguments_as_they_were_written(
    form, text, arguments, behind
):
    content, _, calls, malformed = read(text, form=form)
    assert (content, calls[-1][2]) == (behind, arguments)
    assert malformed
    assert read(*text, form=form)[2] == calls


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("hermes", '<tool_call>{"name": "ls", "arguments": {"path": "WRITTEN"}}</tool_call>'),
        ("hermes", '<tool_call>{"arguments": {"path": "WRITTEN"}, "name": "ls"}</tool_call>'),
        ("hermes", '<tool_call>{"name": "ls", "arguments": {"path": "WRITTEN", }}</tool_call>'),
        ("hermes", "<tool_call>{'name': 'ls', 'arguments': {'path': 'WRITTEN'}}</tool_call>"),
        ("qwen_xml", '<function=ls><parameter=n>["WRITTEN"]</parameter></function>'),
        ("mistral", '[TOOL_CALLS]ls[ARGS]{"path": "WRITTEN"}'),
        ("llama3_pythonic", '[ls(path="WRITTEN")]'),
    ],
)
@pytest.mark.parametrize("written", [r"\ud83d", r"\uDE00", r"\ud83d\ud83d", r"\ud83d\\"])
def test_half_a_surrogate_pair_is_a_question_mark(form, text, written):
    text = text.replace("WRITTEN", written)
    _, _, calls, malformed = read(text, form=form)
    ((_, _, arguments),) = calls
    assert malformed is None
    assert "?" in arguments
    json.dumps(json.loads(arguments), ensure_ascii=False).encode()
    assert read(*text, form=form)[2] == calls


def test_half_a_surrogate_pair_in_a_name_is_one_too():
    text = r'<tool_call>{"name": "l\ud83d", "arguments": {}}</tool_call>'
    assert told(read(text)[2]) == [("l?", {})]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("hermes", r"<tool_call>{'name': 'ls', 'arguments': {'path': '\ud83d\ude00'}}</tool_call>"),
        ("qwen_xml", r"<function=ls><parameter=n>['\ud83d\ude00']</parameter></function>"),
        ("llama3_pythonic", r"[ls(path='\ud83d\ude00')]"),
        ("llama3_pythonic", r'[ls(path="\ud83d\ude00")]'),
        ("llama3_pythonic", r'[ls(path=[None, "\ud83d\ude00"])]'),
    ],
)
def test_both_halves_of_a_surrogate_pair_are_their_character_in_pythons_strings_too(form, text):
    ((_, _, arguments),) = read(text, form=form)[2]
    assert "\U0001f600" in arguments
    assert read(*text, form=form)[2][0][2] == arguments


def test_a_whole_surrogate_pair_and_an_escaped_backslash_stay():
    written = r'{"path": "\ud83d\ude00 \\ud83d"}'
    calls = read(f'<tool_call>{{"name": "ls", "arguments": {written}}}</tool_call>')[2]
    assert calls[0][2] == written
