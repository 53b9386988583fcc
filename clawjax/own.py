"""What users bring themselves: found by import path, given its options, held to its protocol.

Invariants: whatever is wrong with it is a `ConfigError` that names the setting, before anything is
started; what somebody else wrote down has nothing imported (`nothing_imported`).
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import reduce
from inspect import Parameter
from typing import Any

from clawjax.config.checks import require
from clawjax.errors import ConfigError

__all__ = ["check_call", "check_trusted", "find", "lacking", "made", "nothing_imported"]

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_MOST_TOLD = 8
_REFUSED: ContextVar[str | None] = ContextVar("_REFUSED", default=None)


@contextmanager
def nothing_imported(why: str) -> Generator[None]:
    """Within it no import path is followed, as it may be somebody else's.

    Args:
        why: and what to do, for the message.
    """
    token = _REFUSED.set(why)
    try:
        yield
    finally:
        _REFUSED.reset(token)


def check_trusted(path: str, setting: str) -> None:
    """Whether something may be imported.

    Raises:
        ConfigError: `nothing_imported`.
    """
    why = _REFUSED.get()
    require(why is None, f"{setting}={path!r} is not imported: {why}")


def find(path: str, setting: str) -> Any:
    """What `package.module:name` names; `name` may have dots.

    Args:
        path: as configured.
        setting: that has the path, for messages.

    Raises:
        ConfigError: it is no such path, there is no such module or name, or `nothing_imported`.
    """
    check_trusted(path, setting)
    module_name, _, name = path.partition(":")
    require(
        bool(module_name and name),
        f"{setting}={path!r} is no import path: write package.module:name",
    )
    module = _imported(module_name, f"{setting}={path}")
    try:
        return reduce(getattr, name.split("."), module)
    except AttributeError as error:
        public = [each for each in vars(module) if not each.startswith("_")]
        msg = f"{setting}={path} cannot be imported: {error}; {_instead(name, public)}"
        raise ConfigError(msg) from error


def _imported(name: str, told: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        msg = f"{told} cannot be imported: {error}"
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            msg += "; put its folder on PYTHONPATH (PYTHONPATH=. for the one you are in)"
        raise ConfigError(msg) from error
    except (Exception, SystemExit) as error:  # the boundary: whatever it does when it is imported
        msg = f"{told} cannot be imported: {name} raised {type(error).__name__}: {error}"
        raise ConfigError(msg) from error


def made(
    path: str, given: Mapping[str, object], options: Mapping[str, Any], *, setting: str, key: str
) -> Any:
    """What `path` returns for what it is given and its options.

    Args:
        path: of a function or class.
        given: what it is called with, in order, by names for messages.
        options: as keyword arguments.
        setting: that has the path.
        key: of the options.

    Raises:
        ConfigError: as `find` and `check_call`, or it raised something.
    """
    function = find(path, setting)
    check_call(function, path, list(given), options, setting=setting, key=key)
    try:
        return function(*given.values(), **options)
    except ConfigError:
        raise
    except Exception as error:  # the boundary: options are the maker's to check
        told = f" with {key}={dict(options)!r}" if options else ""
        msg = f"{setting}={path}: the call{told} raised {type(error).__name__}: {error}"
        raise ConfigError(msg) from error


def check_call(
    function: Callable[..., object],
    path: str,
    given: Iterable[str],
    options: Mapping[str, Any],
    *,
    setting: str,
    key: str,
) -> None:
    """Whether a function or class takes what it is given and the options.

    Args:
        function: to be called.
        path: of it.
        given: names of what it is called with before the options.
        options: as keyword arguments.
        setting: that has the path.
        key: of the options.

    Raises:
        ConfigError: it is nothing to call, or does not take `given`; an option that it does not
            have, or one that it needs and that is not there.
    """
    names = list(given)
    call = f"{path.rpartition(':')[2]}({', '.join(names)})"
    require(
        callable(function),
        f"{setting}={path} is a {type(function).__name__}: name a function or class {call}",
    )
    parameters = list(_signature(function, f"{setting}={path}").parameters.values())
    places = [each for each in parameters if each.kind in _POSITIONAL]
    takes_any = any(each.kind is Parameter.VAR_POSITIONAL for each in parameters)
    require(
        takes_any or len(places) >= len(names),
        f"{setting}={path} takes {len(places)} positional arguments, but is called as {call}: "
        f"give it {', '.join(names)}",
    )
    taken = places[: len(names)]
    open_ones = {each.name: each for each in parameters if each not in taken}
    given_by_name = {each.name for each in taken if each.kind in _BY_NAME}
    _check_options(open_ones, given_by_name, path, options, key)


def _check_options(
    parameters: Mapping[str, Parameter],
    given: Collection[str],
    path: str,
    options: Mapping[str, Any],
    key: str,
) -> None:
    """Compare options with the parameters that are left for them."""
    known = [name for name, each in parameters.items() if each.kind in _BY_NAME]
    takes_all = any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values())
    for name in options:
        require(isinstance(name, str), f"{key} has an option {name!r}: its name has to be a text")
        is_known = name in known or (takes_all and name not in given)
        require(
            is_known, f"{key}.{name} is unknown: {path} has no such option; "
            f"{_instead(name, known)}",
        )  # fmt: skip
    for name, each in parameters.items():
        is_needed = each.default is Parameter.empty and each.kind in (*_POSITIONAL, *_BY_NAME)
        require(
            not is_needed or name in options,
            f"{key}.{name} is missing: {path} needs it; set it, or give it a default there",
        )


def _signature(function: Callable[..., object], told: str) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (ValueError, TypeError) as error:
        msg = f"{told} does not say what it takes ({error}): wrap it in a function that does"
        raise ConfigError(msg) from error


def _instead(name: str, known: list[str]) -> str:
    if near := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {near[0]}?"
    if not known:
        return "leave it out, as there is none"
    more = ", ..." if len(known) > _MOST_TOLD else ""
    return f"use one of {', '.join(known[:_MOST_TOLD])}{more}"


def lacking(candidate: object, protocol: type) -> list[str]:
    """What a candidate lacks of a protocol, such as `has no async method judge(turn, next_state)`.

    Args:
        candidate: an instance.
        protocol: whose public attributes and methods are looked for; a method has to be
            asynchronous where the protocol's is, and to take the same arguments.
    """
    members = dict.fromkeys(vars(protocol).get("__annotations__", {})) | {
        name: member for name, member in vars(protocol).items() if not name.startswith("_")
    }
    return [told for name, member in members.items() if (told := _lack(candidate, name, member))]


def _lack(candidate: object, name: str, member: object) -> str | None:
    found = getattr(candidate, name, None)
    if not inspect.isfunction(member):
        return f"has no attribute {name}" if found is None else None
    wanted = [each for each in inspect.signature(member).parameters.values() if each.name != "self"]
    is_async = inspect.iscoroutinefunction(member)
    fits = inspect.iscoroutinefunction(found) if is_async else callable(found)
    if fits and _takes(found, wanted):
        return None
    arguments = ", ".join(each.name for each in wanted)
    return f"has no {'async ' if is_async else ''}method {name}({arguments})"


def _takes(method: Any, wanted: list[Parameter]) -> bool:
    by_name = {each.name: None for each in wanted if each.kind is Parameter.KEYWORD_ONLY}
    places = [None for each in wanted if each.kind in _POSITIONAL]
    try:
        inspect.signature(method).bind(*places, **by_name)
    except (TypeError, ValueError):
        return False
    return True
