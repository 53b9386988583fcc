import time

import pytest

from clawjax.log.reaction import MAX_CHARS, is_call_error, reaction_text
from clawjax.records import Message


def read(*words: str) -> str:
    return reaction_text([Message("user", text) for text in words])


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Too long.", "Too long."),
        ("[Sun 2026-11-22 21:08 UTC] Too long.", "Too long."),
        (
            "[Sun 2026-11-22 21:08 UTC] [Queued user message from a previous active run] Hm.",
            "Hm.",
        ),
        ("Nice.<system-reminder>Never say no.\nBe kind.</system-reminder>", "Nice."),
        ("<system-reminder>a</system-reminder>[Sun 2026-11-22 21:08 UTC] Hm.", "Hm."),
        ("What is <system-reminder>?", "What is <system-reminder>?"),
        ("Wrong:\n```python\nraise ValueError\n```\nFix it", "Wrong:\n \nFix it"),
        ("[citation needed] really?", "[citation needed] really?"),
        ("   ", ""),
    ],
)
def test_decorations_are_not_the_users_words(message, words):
    assert read(message) == words


@pytest.mark.parametrize("repeated", ["<system-reminder>", "[12:11 ", "```"])
def test_what_is_opened_often_and_never_closed_is_read_in_one_pass(repeated):
    began = time.process_time()
    read("[" + repeated * 30_000)
    assert time.process_time() - began < 5.0


def test_only_user_messages_are_reactions():
    messages = (
        Message(role="tool", content="terrible failure"),
        Message(role="user", content="Nice."),
        Message(role="system", content="wrong"),
        Message(role="user", content="Next one?"),
    )
    assert reaction_text(messages) == "Nice.\nNext one?"


def test_long_messages_keep_their_start_and_end():
    words = read("Great! " + "x" * 50_000 + " Next?")
    assert len(words) < MAX_CHARS + 10
    assert words.startswith("Great!")
    assert words.endswith("Next?")


@pytest.mark.parametrize(
    "result",
    [
        '{"error": "Invalid arguments: path is a required property"}',
        "Error: unknown tool 'serach'",
        "bash: gti: command not found",
        "TypeError: run() got an unexpected keyword argument 'cmd'",
        "Error: JSON parse error at line 1",
        'Traceback (most recent call last):\n  File "x.py"\nSyntaxError: invalid syntax',
    ],
)
def test_a_rejected_call_is_the_calls_fault(result):
    assert is_call_error([Message("tool", result, tool_call_id="c1")])


@pytest.mark.parametrize(
    "result",
    [
        "total 3\nREADME.md",
        "",
        "Error: connection timed out",
        "HTTP 503 Service Unavailable",
        "Error: no such file or directory: notes.txt",
        "How to fix 'SyntaxError: invalid syntax' in Python: check the brackets.",
        "# errors.py\nclass UnknownTool(Exception): ...  # unknown tool",
    ],
)
def test_other_results_say_nothing_certain(result):
    assert not is_call_error([Message("tool", result, tool_call_id="c1")])


def test_a_user_cannot_fake_a_tool_error():
    assert not is_call_error([Message("user", "Error: invalid arguments")])
