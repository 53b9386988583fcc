"""What clients put around people's words is taken away; the words stay."""

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
        ("[Sun] hello", "[Sun] hello"),
        ("[2026] Runtime: agent=main", "[2026] Runtime: agent=main"),
        ("Calls\n\n# Rules:\nx", "Calls\n\n# Rules:\nx"),
    ],
)
def test_decorations(sent, words):
    assert undecorated(sent) == words
