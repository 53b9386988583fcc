"""What the endpoint lets in and what it lets into the log."""

from __future__ import annotations

from dataclasses import dataclass

from clawjax.config.checks import at_least

__all__ = ["MOST_CHOICES", "LimitsConfig"]

MOST_CHOICES = 8
"""Replies to one request that any configuration may allow."""


@dataclass
class LimitsConfig:
    """What one request, and one key, may ask for. What is over a limit is refused with its name."""

    max_messages: int = 4096
    """Messages in a request, those that a client repeats included."""
    max_choices: int = MOST_CHOICES
    """`n`: replies to one request."""
    max_prompt_tokens: int | None = None
    """Tokens of a prompt; null leaves it at what the context has room for."""
    max_header_bytes: int = 65_536
    """Names and values of a request's headers together."""
    max_requests_per_key: int | None = None
    """Requests for replies that a key may have under way; more are refused with 429 and
    Retry-After. Null: 64, unless `gateway.host` is the loopback, where only the engine limits."""

    def __post_init__(self) -> None:
        """A limit of nothing would refuse everything."""
        at_least("gateway.limits.max_messages", self.max_messages, 1)
        at_least("gateway.limits.max_choices", self.max_choices, 1)
        at_least("gateway.limits.max_header_bytes", self.max_header_bytes, 1024)
        if self.max_prompt_tokens is not None:
            at_least("gateway.limits.max_prompt_tokens", self.max_prompt_tokens, 1)
        if self.max_requests_per_key is not None:
            at_least("gateway.limits.max_requests_per_key", self.max_requests_per_key, 1)
