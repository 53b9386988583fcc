"""The suites by name. One line here, and a module with a `build`, make a suite."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from clawjax.errors import ConfigError
from clawjax.evals.harness.protocols import Suite

__all__ = ["SUITES", "build_suite", "read_options"]

T = TypeVar("T")

SUITES: dict[str, str] = {
    "dbbench": "clawjax.evals.suites.agentbench.dbbench.suite:build",
    "gaia": "clawjax.evals.suites.gaia.suite:build",
    "household": "clawjax.evals.suites.agentbench.household.suite:build",
    "miniwob": "clawjax.evals.suites.miniwob.suite:build",
    "os": "clawjax.evals.suites.agentbench.system.suite:build",
    "personal_agent": "clawjax.evals.suites.personal_agent.suite:build",
    "tau": "clawjax.evals.suites.tau.suite:build",
    "web": "clawjax.evals.suites.webarena.suite:build_local",
    "webarena": "clawjax.evals.suites.webarena.suite:build",
    "webarena_verified": "clawjax.evals.suites.webarena_verified.suite:build",
}
"""`module:function` that makes the suite from its options (`suite.options`); imported on demand."""


def build_suite(
    name: str, options: Mapping[str, Any] | None = None, *, is_played: bool = True
) -> Suite:
    """A suite.

    Args:
        name: one of `SUITES`.
        options: its own; missing ones have defaults.
        is_played: False where only what is on record is read and scored, which takes no browser
            and no namespaces.

    Raises:
        ConfigError: no such suite, an unknown option, or data that is not there.
        UnavailableError: this machine lacks what the suite needs.
    """
    if name not in SUITES:
        msg = f"suite.name={name!r} is unknown: use {', '.join(('personal', 'judge', *SUITES))}"
        raise ConfigError(msg)
    module, _, function = SUITES[name].partition(":")
    suite: Suite = getattr(importlib.import_module(module), function)(options or {})
    if is_played:
        suite.launch.check()
    return suite


def read_options(kind: type[T], options: Mapping[str, Any]) -> T:
    """A suite's options as its dataclass.

    Raises:
        ConfigError: an option that it does not have.
    """
    known = [field.name for field in fields(kind)]  # pyright: ignore[reportArgumentType]
    for name in options:
        if name not in known:
            msg = f"suite.options.{name} is unknown: use {', '.join(known)}"
            raise ConfigError(msg)
    return kind(**options)
