"""What clients put around people's words is taken away; the words stay."""

import time

import pytest

from clawjax.linking.decorations import undecorated

CONTEXT = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nnone\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
RUNTIME = "\n\nRuntime: agent=main | session=agent:main:x | sessionId=7f52 | host=pc"
QUEUED = (
    "[Queued user message from a previous active turn; preserved as context only. Continue with "
    "the active prompt below.]\nfix it\n\nContinue the current task from the existing transcript, "
    "preserving completed work."
)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("hello", "hello"),
        (" hello\n", " hello\n"),
        ("[Sun 2026-11-22 21:08 UTC] hello", "hello"),
        (f"[Sun 2026-11-22 21:08 UTC] hello{RUNTIME}", "hello"),
        (f"[Sun 2026-11-22 21:08 UTC] {QUEUED}", "fix it"),
        (f"[Sun 2026-11-22 21:08 UTC] {QUEUED}{RUNTIME}", "fix it"),
        (CONTEXT, ""),
        (
            "Follow the heartbeat monitor scratch context when provided.",
            "[OpenClaw heartbeat poll]",
        ),
        ("<system-reminder>\nbe kind\n</system-reminder>\nhello", "hello"),
        ("<command-name>/compact</command-name>\n<command-args></command-args>\nhello", "hello"),
        ("add a test\n\n# *SEARCH/REPLACE block* Rules:\n\nEvery block", "add a test"),
        ("<command-name>a</command-name>\n<command-args>b", "<command-args>b"),
        ("a<system-reminder>b</system-reminder> c <system-reminder>", "ac <system-reminder>"),
        ("[Sun] hello", "[Sun] hello"),
        ("[2026] Runtime: agent=main", "[2026] Runtime: agent=main"),
        ("Calls\n\n# Rules:\nx", "Calls\n\n# Rules:\nx"),
    ],
)
def test_decorations(sent, words):
    assert undecorated(sent) == words


@pytest.mark.parametrize(
    ("repeated", "end"),
    [
        ("<system-reminder>", ""),
        ("<command-name>", ""),
        (CONTEXT[:35], ""),
        ("\n", "Runtime: agent="),
    ],
)
def test_what_is_opened_often_and_never_closed_is_read_in_one_pass(repeated, end):
    sent = repeated * 50_000 + end
    began = time.process_time()
    assert undecorated(sent) == sent
    assert time.process_time() - began < 5.0
