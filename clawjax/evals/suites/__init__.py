"""The suites by name, or by the import path of one's own.

One line here, and a module with a `build`, make a suite that everybody has.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from clawjax.errors import ConfigError
from clawjax.evals.harness.protocols import Suite
from clawjax.own import check_call, find, made

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
_OWN_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


def build_suite(
    name: str, options: Mapping[str, Any] | None = None, *, is_played: bool = True
) -> Suite:
    """A suite.

    Args:
        name: one of `SUITES`, or `package.module:function` of one's own, which gets its options as
            keyword arguments.
        options: its own; missing ones have defaults.
        is_played: False where only what is on record is read and scored, which takes no browser
            and no namespaces.

    Raises:
        ConfigError: no such suite, an unknown option, data that is not there, or something of
            one's own that is no suite.
        UnavailableError: this machine lacks what the suite needs.
    """
    if ":" in name:
        suite = _own(name, options or {}, is_played=is_played)
    elif name in SUITES:
        module, _, function = SUITES[name].partition(":")
        suite = getattr(importlib.import_module(module), function)(options or {})
    else:
        known = ", ".join(("personal", "judge", *SUITES))
        msg = (
            f"suite.name={name!r} is unknown: use {known}, or package.module:function of a suite "
            "of your own"
        )
        raise ConfigError(msg)
    if is_played:
        suite.launch.check()
    return suite


def _own(path: str, options: Mapping[str, Any], *, is_played: bool) -> Suite:
    """A suite of one's own, checked as far as that needs no episode."""
    suite = made(path, {}, options, setting="suite.name", key="suite.options")
    told = f"suite.name={path}"
    if not isinstance(suite, Suite):
        msg = (
            f"{told} made a {type(suite).__name__}: return a clawjax.evals.harness.protocols.Suite"
        )
        raise ConfigError(msg)
    if suite.name in SUITES or not _OWN_NAME.fullmatch(suite.name):
        msg = (
            f"{told} made a suite that is called {suite.name!r}, which its folder is to be called "
            f"too: use letters, digits, `.`, `_` and `-`, and none of {', '.join(SUITES)}"
        )
        raise ConfigError(msg)
    ids = Counter(task.task_id for task in suite.tasks)
    if not ids or max(ids.values()) > 1:
        msg = (
            f"{told}: {len(ids)} of its {len(suite.tasks)} tasks have a task_id of their own: give "
            "it at least one, and each its own"
        )
        raise ConfigError(msg)
    if is_played:
        launch = suite.launch
        setting = f"{told}: launch.factory"
        check_call(
            find(launch.factory, setting),
            launch.factory,
            [],
            launch.options,
            setting=setting,
            key=f"{told}: launch.options",
        )
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
