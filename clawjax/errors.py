"""The exception tree: one class per boundary that a failure can cross.

    ClawError
    ├── ConfigError    the configuration cannot run; raised at start-up, exit code 2
    │   └── UnavailableError   this machine lacks what it needs
    ├── WireError      the client's fault; becomes an OpenAI-shaped 4xx response
    ├── EngineError    generation failed or weights were refused
    ├── RewardError    a judge gave no usable verdict; becomes an abstention
    │   └── JudgeAwayError   it cannot be asked just now; the turn waits for it
    ├── LogError       the turn log cannot be read or written
    │   ├── ForgottenError   a turn was taken out of it on somebody's wish
    │   └── ReviewError      a turn is not this person's to label
    ├── DataError      a data set cannot be read, or has nothing to learn from
    ├── StoreError     weights are missing, damaged, do not fit or cannot be written
    ├── EvalError      an evaluation cannot go on, or its result is not to be trusted
    └── LearnerError   a training step is not to be trusted; stops the learner

Every message names the value, the limit and the fix.
"""

from __future__ import annotations

__all__ = [
    "ClawError",
    "ConfigError",
    "DataError",
    "EngineError",
    "EvalError",
    "ForgottenError",
    "JudgeAwayError",
    "LearnerError",
    "LogError",
    "ReviewError",
    "RewardError",
    "StoreError",
    "UnavailableError",
    "WireError",
]


class ClawError(Exception):
    """Base of every error that clawjax raises on purpose."""


class ConfigError(ClawError, ValueError):
    """The configuration is inconsistent or cannot be satisfied on this machine."""


class UnavailableError(ConfigError):
    """The configuration is sound, but needs what this machine lacks."""


class WireError(ClawError):
    """A request that the client has to change, in the shape OpenAI clients expect."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        """Describe the fault: HTTP `status`, machine-readable `code`, offending `param`."""
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.kind = kind


class EngineError(ClawError, RuntimeError):
    """The engine cannot serve this request or these weights."""


class RewardError(ClawError, RuntimeError):
    """A reward module reached no verdict; the turn is an abstention, never a zero."""


class JudgeAwayError(RewardError):
    """A judge cannot be reached, or takes no questions: whoever asks again later may get one."""


class LogError(ClawError, RuntimeError):
    """The turn log cannot be opened, read or written."""


class ForgottenError(LogError):
    """A turn is not in the log any more, because somebody wanted it forgotten."""


class ReviewError(LogError):
    """A turn is not this person's to label: not there, not claimed by them, or labelled already."""


class DataError(ClawError, ValueError):
    """A data set cannot be read or written, or leaves nothing to learn from."""


class StoreError(ClawError, RuntimeError):
    """A weight version or a checkpoint is missing, damaged, or cannot be written."""


class EvalError(ClawError, RuntimeError):
    """An evaluation cannot go on, or went so wrong that its result says nothing."""


class LearnerError(ClawError, RuntimeError):
    """A training step produced a result that must not be published."""
