"""How an episode ended: one closed list, and its translation into AgentBench's.

Invariant: what was not the agent's doing is never a failure of the agent. An error of the harness
is unscored and counted.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["AGENTBENCH", "RETRIED", "UNSCORED", "Outcome"]


class Outcome(StrEnum):
    """Of one episode."""

    COMPLETED = "completed"
    """The agent finished, or the environment said that it is over."""
    CONTEXT_LIMIT = "context_limit"
    """The conversation no longer fits the agent's context."""
    INVALID_FORMAT = "invalid_format"
    """Too many turns in a row from which no action could be read."""
    INVALID_ACTION = "invalid_action"
    """Too many turns in a row whose action does not exist, or not with these arguments."""
    TASK_LIMIT = "task_limit"
    """Turns, tokens or wall time used up."""
    BROKE_ENVIRONMENT = "broke_environment"
    """Its actions broke the environment, and another one too when they were repeated there."""
    CANCELLED = "cancelled"
    """Somebody stopped the run."""
    AGENT_ERROR = "agent_error"
    """The endpoint did not answer, or the agent's program is broken."""
    ENVIRONMENT_ERROR = "environment_error"
    """The environment broke down, or did not answer in time."""
    SCORER_ERROR = "scorer_error"
    """The episode is there, its score is not."""


UNSCORED = frozenset(
    {Outcome.CANCELLED, Outcome.AGENT_ERROR, Outcome.ENVIRONMENT_ERROR, Outcome.SCORER_ERROR}
)
"""Left out of every mean, and counted beside it."""

RETRIED = frozenset({Outcome.CANCELLED, Outcome.AGENT_ERROR, Outcome.ENVIRONMENT_ERROR})
"""Played again when a run is resumed."""

AGENTBENCH = {
    Outcome.COMPLETED: "Completed",
    Outcome.CONTEXT_LIMIT: "Context Limit Exceeded",
    Outcome.INVALID_FORMAT: "Invalid Format",
    Outcome.INVALID_ACTION: "Invalid Action",
    Outcome.TASK_LIMIT: "Task Limit Exceeded",
    Outcome.BROKE_ENVIRONMENT: "Task Limit Exceeded",
    Outcome.CANCELLED: "Task Limit Exceeded",
    Outcome.AGENT_ERROR: "Task Limit Exceeded",
    Outcome.ENVIRONMENT_ERROR: "Task Limit Exceeded",
    Outcome.SCORER_ERROR: "Task Limit Exceeded",
}
"""AgentBench's five classes (`src/analysis.py`, VALIDATION_MAP_FUNC), which count errors of the
harness as the agent's; for comparisons with published tables only."""
