"""Checks whose messages name the value, the limit and the fix."""

from __future__ import annotations

import math
from collections.abc import Sequence

from clawjax.errors import ConfigError

__all__ = ["above", "at_least", "at_least_or_null", "finite", "one_of", "require", "within"]


def require(condition: bool, message: str) -> None:
    """Raise `ConfigError` with a message that names value, limit and fix."""
    if not condition:
        raise ConfigError(message)


def at_least(name: str, value: float, minimum: float) -> None:
    """Check one number."""
    require(value >= minimum, f"{name}={value} is too small: the minimum is {minimum}")


def at_least_or_null(name: str, value: float | None, minimum: float) -> None:
    """Check one number that may be absent."""
    if value is not None:
        require(value >= minimum, f"{name}={value} is too small: use {minimum} or more, or null")


def above(name: str, value: float, limit: float) -> None:
    """Check one number against an open bound."""
    require(value > limit, f"{name}={value} is too small: use more than {limit}")


def finite(name: str, value: float) -> None:
    """Check that a number, which is multiplied with and no limit, is not infinite."""
    require(
        not math.isinf(value), f"{name}={value} is no number to multiply with: use a finite one"
    )


def one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Check one word."""
    require(value in allowed, f"{name}={value!r} is unknown: use one of {', '.join(allowed)}")


def within(name: str, value: float, low: float, high: float) -> None:
    """Check one number against a closed range."""
    require(low <= value <= high, f"{name}={value} is out of range: use {low} to {high}")
