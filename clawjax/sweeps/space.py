"""What a sweep may choose from: one dimension per configuration key.

Invariant: a dimension survives its JSON form, and a value of it, as text, is what is written after
`key=` on a command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clawjax.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import Trial

__all__ = [
    "Choice",
    "Dimension",
    "Interval",
    "assignments",
    "grid",
    "read_space",
    "suggest",
    "write_space",
]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these."""

    options: tuple[str, ...]
    """Each as it is written on a command line."""

    def __post_init__(self) -> None:
        """Raises ConfigError: there is nothing to choose."""
        if len(set(self.options)) < 2:
            msg = f"a choice among {list(self.options)} is none: name two or more"
            raise ConfigError(msg)


@dataclass(frozen=True, slots=True)
class Interval:
    """A number, both ends included."""

    low: float
    high: float
    is_log: bool = False
    is_whole: bool = False
    step: float | None = None
    """Only multiples of it above `low`; None: any."""

    def __post_init__(self) -> None:
        """Raises ConfigError: it is empty, or cannot be drawn from."""
        if not self.low < self.high:
            msg = f"interval({self.low}, {self.high}) is empty: the first number is the lower one"
            raise ConfigError(msg)
        if self.is_log and self.low <= 0:
            msg = f"interval({self.low}, {self.high}) has no logarithm: begin above 0"
            raise ConfigError(msg)
        if self.is_log and self.step is not None:
            msg = f"step={self.step} and a logarithmic scale do not go together: leave one out"
            raise ConfigError(msg)


Dimension = Choice | Interval


def assignments(values: Mapping[str, Any]) -> list[str]:
    """Values by key as command line arguments."""
    return [f"{key}={value}" for key, value in values.items()]


def write_space(space: Mapping[str, Dimension]) -> dict[str, Any]:
    """As JSON."""
    return {key: asdict(each) for key, each in space.items()}


def read_space(written: Mapping[str, Mapping[str, Any]]) -> dict[str, Dimension]:
    """What `write_space` wrote."""
    return {
        key: Choice(tuple(each["options"])) if "options" in each else Interval(**each)
        for key, each in written.items()
    }


def suggest(trial: Trial, space: Mapping[str, Dimension]) -> dict[str, Any]:
    """What the study wants to try next."""
    return {key: _suggest(trial, key, each) for key, each in space.items()}


def _suggest(trial: Trial, key: str, dimension: Dimension) -> Any:
    match dimension:
        case Choice(options):
            return trial.suggest_categorical(key, options)
        case Interval(low, high, is_log, True, step):
            return trial.suggest_int(key, int(low), int(high), log=is_log, step=int(step or 1))
        case Interval(low, high, is_log, _, step):
            return trial.suggest_float(key, low, high, log=is_log, step=step)


def grid(space: Mapping[str, Dimension]) -> dict[str, Sequence[Any]]:
    """All values of every dimension.

    Raises:
        ConfigError: one has infinitely many.
    """
    found: dict[str, Sequence[Any]] = {}
    for key, each in space.items():
        match each:
            case Choice(options):
                found[key] = options
            case Interval(low, high, False, is_whole, step) if is_whole or step is not None:
                size = step or 1.0
                count = int((high - low) / size + 1e-9) + 1
                values = [low + index * size for index in range(count)]
                found[key] = [int(value) for value in values] if is_whole else values
            case _:
                msg = f"sampler=grid cannot list all of {key}: use choice(...) or range(...)"
                raise ConfigError(msg)
    return found
