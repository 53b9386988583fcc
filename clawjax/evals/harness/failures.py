"""What can go wrong in an episode and is not the agent's choice; each becomes an `Outcome`."""

from __future__ import annotations

from clawjax.errors import EvalError

__all__ = ["AgentFailure", "ContextLimitReached", "EnvironmentFailure", "OutsideFailure"]


class ContextLimitReached(EvalError):  # noqa: N818 - an ending, not a mistake
    """The conversation no longer fits: `Outcome.CONTEXT_LIMIT`."""


class AgentFailure(EvalError):  # noqa: N818 - becomes a record, is not told to anybody
    """The agent gave no reply: `Outcome.AGENT_ERROR`."""


class EnvironmentFailure(EvalError):  # noqa: N818 - as above
    """The environment broke down or did not answer: `Outcome.ENVIRONMENT_ERROR`, or the agent's."""

    def __init__(self, told: str, *, is_outside: bool = False) -> None:
        """Say what happened, and whether the environment knows it for an `OutsideFailure`."""
        super().__init__(told)
        self.is_outside = is_outside


class OutsideFailure(EvalError):  # noqa: N818 - as above
    """What an environment needs of others, e.g. a model that plays the user, is away.

    Raised by environments: `Outcome.ENVIRONMENT_ERROR`, whatever the agent did.
    """
