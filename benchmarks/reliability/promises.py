"""What clawjax promises of its reliability, how it keeps it, and the tests that hold it to that."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["AFTER", "INTRODUCTION", "PROMISES", "Promise"]


class Promise(NamedTuple):
    """One row of the page."""

    promise: str
    how: str
    tests: tuple[str, ...]
    """Files, from the root of the repository."""


PROMISES = (
    Promise(
        "What a client was told is in the log, also after `kill -9`",
        "a turn is committed, and synced to the disk, before the last byte of its reply leaves",
        (
            "tests/benchmarks/test_reliability.py",
            "tests/log/test_store.py",
            "tests/gateway/test_server.py",
        ),
    ),
    Promise(
        "No turn is trained twice, and none counts as trained that is in no weights",
        "steps claim turns; after a crash the newest checkpoint settles or releases the claims",
        ("tests/learner/test_loop_recovery.py", "tests/benchmarks/test_reliability.py"),
    ),
    Promise(
        "A learner that was interrupted arrives at the same weights, bit for bit",
        "checkpoints hold the whole state, with a digest; a step is a function of it and its turns",
        ("tests/learner/test_loop_recovery.py", "tests/learner/test_checkpoint.py"),
    ),
    Promise(
        "Every turn ends: trained, dropped with a reason, or queued",
        "one outcome per turn; the balance is read in one transaction",
        ("tests/learner/test_admission.py", "tests/log/test_store.py"),
    ),
    Promise(
        "A process that dies is started again, at once and then after growing pauses",
        "`run.max_restarts`, `run.max_restart_wait_s`; ten minutes of life clear the count",
        ("tests/runtime/test_supervisor.py",),
    ),
    Promise(
        "A learner, or a loop within a process, that keeps dying is left stopped; serving goes on",
        "state, restarts and reason are in `/healthz` and `clawjax status`, and at the terminal",
        (
            "tests/runtime/test_supervisor.py",
            "tests/runtime/test_keeping.py",
            "tests/cli/test_operations.py",
        ),
    ),
    Promise(
        "No chat request is refused or delayed for training, judging or weights",
        "the loops meet in the log and the weight store only; weights change between two tokens",
        ("tests/engine/test_embedded.py", "tests/benchmarks/test_reliability.py"),
    ),
    Promise(
        "Turns wait for a judge that hangs, answers 429 or 500, refuses every question "
        "(401 to 404), or is gone, and lose no verdict",
        "time-outs, few retries with back-off and `Retry-After`; then judging waits, and says so, "
        "for `reward.judge_patience_h` (a day); an answer that means nothing is an abstention",
        (
            "tests/rewards/test_away.py",
            "tests/rewards/test_llm_judge.py",
            "tests/rewards/test_worker.py",
        ),
    ),
    Promise(
        "An engine server that goes takes no reply along, and comes back with the right weights",
        "replies go on elsewhere from the tokens so far; a server is probed before it is used",
        (
            "tests/engine/sglang/test_engine.py",
            "tests/engine/sglang/test_engine_weights.py",
            "tests/engine/sglang/test_engine_server.py",
        ),
    ),
    Promise(
        "New weights that no engine server can read leave the old ones in service",
        "a server that refuses them and shows what it has serves on with that; `/healthz` says so, "
        "and they are tried again until they can be read",
        (
            "tests/engine/sglang/test_refusals.py",
            "tests/engine/sglang/test_engine_server.py",
        ),
    ),
    Promise(
        "Where the log is locked or the disk is full, what cannot be kept is not given",
        "such requests are answered with 500 and can be repeated; loops wait until it is over, "
        "however long that takes",
        (
            "tests/gateway/test_storage_trouble.py",
            "tests/runtime/test_supervisor.py",
            "tests/learner/test_checkpoint.py",
        ),
    ),
    Promise(
        "A clock that goes back closes no session early and holds no step up",
        "times ahead of the clock count as now for sessions, as past for steps",
        ("tests/gateway/test_sessions.py", "tests/learner/test_loop.py"),
    ),
    Promise(
        "A client that leaves in the middle leaves no sample",
        "the reply is cancelled in the engine, kept as cancelled, and dropped",
        ("tests/gateway/test_streams.py",),
    ),
    Promise(
        "A request after a pause is not lost to a connection that is just being closed",
        "connections rest for 120 s, longer than any client or proxy keeps them",
        ("tests/gateway/test_server.py",),
    ),
    Promise(
        "A request that is sent again is one turn",
        "linking tells a retry from a resample; the reply that did not arrive is dropped",
        ("tests/gateway/test_collector.py", "tests/gateway/test_undelivered.py"),
    ),
    Promise(
        "A conversation goes on in its session after a crash, also where its reply died with it",
        "at start the turns that no other goes on from are read from the log",
        ("tests/gateway/test_sessions.py", "tests/log/test_store.py"),
    ),
    Promise(
        "Two requests at the same time in one session do not mix",
        "a reaction is linked once; each reply has a parent of its own",
        ("tests/gateway/test_collector.py", "tests/gateway/test_server.py"),
    ),
    Promise(
        "Weights that are truncated or altered are refused, and the old ones stay in use",
        "sizes and sha256 in a manifest, checked before anything is handed out",
        (
            "tests/weights/test_store.py",
            "tests/engine/test_embedded.py",
            "tests/engine/test_watcher.py",
        ),
    ),
    Promise(
        "A checkpoint that is half written or damaged is set aside",
        "the one before it is used; what it lacks is trained again",
        ("tests/learner/test_checkpoint.py",),
    ),
    Promise(
        "Stopping loses nothing",
        "user, serve, learn, in this order, a minute each before `kill -9`: no new requests; "
        "replies under way have 30 s; verdicts under way are asked for again; a step that has "
        "begun is finished",
        ("tests/benchmarks/test_reliability.py", "tests/runtime/test_supervisor.py"),
    ),
    Promise(
        "What a run keeps stays within what was set",
        "`log.retention_days`, `learner.keep_versions`, `learner.keep_checkpoints`, "
        "`monitor.max_file_mib`",
        (
            "tests/runtime/test_serve.py",
            "tests/weights/test_rollback.py",
            "tests/learner/test_checkpoint.py",
        ),
    ),
    Promise(
        "Nothing is compiled while it serves or learns on",
        "shapes come from buckets; all of serving's are compiled before the first request",
        ("tests/engine/test_scheduler.py", "tests/learner/test_step.py"),
    ),
)

INTRODUCTION = """\
# Reliability

Made from `benchmarks/results/*.json` by `python benchmarks/render_results.py`; a test holds the
page to those files. Who may do what, and what is kept from whom: [SECURITY.md](../SECURITY.md)."""

AFTER = """\
## When something keeps failing

`clawjax status runs/NAME` says which loop stands still, and the last words of whatever stopped
it; `/healthz` has the same under `loops` (`state`: `restarting` or `stopped`, `restarts`,
`reason`). The reason is the error's own text where clawjax raised it, and the name of the error
otherwise, since `/healthz` is open to all; the whole of it is in `runs/NAME/logs/`.

| what fails | what happens |
| --- | --- |
| serving | started again; after `run.max_restarts` deaths in a row the run ends |
| the learner | started again; after as many it is left stopped, and serving goes on |
| a learner that does not trust its own step | left stopped, its batch is in `failed_batches/` |
| judging, following weights, retention | started again inside the process; then left stopped |
| weights that cannot be read or loaded | those before stay in use; tried again every minute |
| the turn log or the disk | tried again for as long as it takes |

To start what was left stopped, stop the run and start it again: it goes on from the last
checkpoint, and what waited in the log is taken up."""
