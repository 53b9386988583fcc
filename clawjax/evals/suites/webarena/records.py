"""WebArena's task file: one JSON list, `test.raw.json` (812 tasks).

The file is in the PyPI packages `libwebarena` and `webarena-verified` (Apache-2.0), of which it is
read as data: importing them would ask for the sites' variables, and for models.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from clawjax.errors import ConfigError, UnavailableError

__all__ = [
    "PLACEHOLDERS",
    "Target",
    "WebTask",
    "addresses",
    "at_sites",
    "data_version",
    "find_tasks",
    "placed",
    "read_tasks",
    "with_placeholders",
]

T = TypeVar("T")

PLACEHOLDERS = {
    "shopping": "__SHOPPING__",
    "shopping_admin": "__SHOPPING_ADMIN__",
    "reddit": "__REDDIT__",
    "gitlab": "__GITLAB__",
    "map": "__MAP__",
    "wikipedia": "__WIKIPEDIA__",
}
"""What URLs and helper calls have in place of a site's address, by its name."""

_FILES = (("webarena", "test.raw.json"), ("webarena_verified", "assets/dataset/test.raw.json"))
_EVALUATORS = frozenset(("string_match", "url_match", "program_html"))


@dataclass(frozen=True, slots=True)
class Target:
    """One check of a page, after the episode."""

    url: str
    """`last`, a URL, or `func:` and a call of a helper."""
    locator: str
    """Empty for the whole page, JavaScript, or `func:` and a call of a helper."""
    prep_actions: tuple[str, ...]
    """JavaScript, run before."""
    required: Mapping[str, Any]
    """`exact_match`: a text, or `must_include`: texts, with ` |OR| ` between alternatives."""


@dataclass(frozen=True, slots=True)
class WebTask:
    """One task."""

    task_id: int
    sites: tuple[str, ...]
    intent: str
    start_urls: tuple[str, ...]
    needs_login: bool
    storage_state: str | None
    """File name of the logged-in browser's state, e.g. `shopping_state.json`."""
    evaluators: tuple[str, ...]
    reference_answers: Mapping[str, Any]
    reference_url: str
    string_note: str
    url_note: str
    targets: tuple[Target, ...]
    template: int
    extra: Mapping[str, Any]
    """Fields that WebArena's format does not have."""

    @property
    def is_judged(self) -> bool:
        """Whether a model's opinion decides."""
        return "string_match" in self.evaluators and "fuzzy_match" in self.reference_answers


def find_tasks() -> Path:
    """The 812 tasks in an installed package.

    Raises:
        UnavailableError: none is installed.
    """
    for package, name in _FILES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(folder) / name).is_file():
                return Path(folder) / name
    msg = (
        "WebArena's tasks are not installed: pip install --no-deps libwebarena==0.0.5, or set "
        "suite.options.path to a test.raw.json"
    )
    raise UnavailableError(msg)


def addresses(sites: Mapping[str, str]) -> dict[str, str]:
    """Where the sites are, by placeholder, from `suite.options.sites`.

    Raises:
        UnavailableError: no site is given.
        ConfigError: one that WebArena does not have.
    """
    if not sites:
        msg = (
            "WebArena's sites are not part of clawjax: set suite.options.sites to the addresses of "
            "yours, e.g. '{shopping: \"http://host:7770\"}' (docs/web.md)"
        )
        raise UnavailableError(msg)
    for name in sites:
        if name not in PLACEHOLDERS:
            msg = f"suite.options.sites has {name!r}: WebArena has {', '.join(PLACEHOLDERS)}"
            raise ConfigError(msg)
    return {PLACEHOLDERS[name]: url for name, url in sites.items()}


def data_version(content: bytes) -> str:
    """sha256 of a task file."""
    return hashlib.sha256(content).hexdigest()


def at_sites(text: str, sites: Mapping[str, str]) -> str:
    """With addresses in place of placeholders.

    Args:
        text: a URL, a helper's call, or whatever else has placeholders.
        sites: addresses by placeholder.
    """
    for placeholder, address in sites.items():
        text = text.replace(placeholder, address.rstrip("/"))
    return text


def with_placeholders(url: str, sites: Mapping[str, str]) -> str:
    """A URL with the placeholder of its site; as it is where it is of none."""
    for placeholder, address in sites.items():
        base = address.rstrip("/")
        if url == base or url.startswith((f"{base}/", f"{base}?")):
            return placeholder + url.removeprefix(base)
    return url


def placed(value: T, sites: Mapping[str, str]) -> T:
    """The same with addresses wherever it has placeholders, also in what pages have to contain."""
    found: Any = value
    if isinstance(value, str):
        found = at_sites(value, sites)
    elif isinstance(value, Mapping):
        found = {name: placed(each, sites) for name, each in value.items()}
    elif isinstance(value, list | tuple):
        found = type(value)(placed(each, sites) for each in value)
    elif is_dataclass(value) and not isinstance(value, type):
        kept = {each.name: placed(getattr(value, each.name), sites) for each in fields(value)}
        found = replace(value, **kept)
    return found


def read_tasks(content: bytes) -> list[WebTask]:
    """All tasks of a file.

    Raises:
        ConfigError: it is no task file, or asks for an evaluator that WebArena does not have.
    """
    try:
        return [_task(entry) for entry in json.loads(content)]
    except (KeyError, TypeError, ValueError) as error:
        msg = f"this is no file in WebArena's format: {type(error).__name__} {error}"
        raise ConfigError(msg) from error


_KNOWN = frozenset(
    {"sites", "task_id", "require_login", "storage_state", "start_url", "geolocation", "intent"}
    | {"intent_template", "instantiation_dict", "require_reset", "eval", "intent_template_id"}
)


def _task(entry: Mapping[str, Any]) -> WebTask:
    checks = entry["eval"]
    unknown = set(checks["eval_types"]) - _EVALUATORS
    if unknown:
        msg = f"task {entry['task_id']}: eval_types has {', '.join(sorted(unknown))}"
        raise ValueError(msg)
    state = entry["storage_state"]
    return WebTask(
        task_id=entry["task_id"],
        sites=tuple(entry["sites"]),
        intent=entry["intent"],
        start_urls=tuple(entry["start_url"].split(" |AND| ")),
        needs_login=entry["require_login"],
        storage_state=None if state is None else Path(state).name,
        evaluators=tuple(checks["eval_types"]),
        reference_answers=checks["reference_answers"] or {},
        reference_url=checks["reference_url"] or "",
        string_note=checks.get("string_note") or "",
        url_note=checks.get("url_note") or "GOLD in PRED",
        targets=tuple(map(_target, checks["program_html"] or ())),
        template=entry["intent_template_id"],
        extra={name: value for name, value in entry.items() if name not in _KNOWN},
    )


def _target(entry: Mapping[str, Any]) -> Target:
    required = entry["required_contents"]
    if not {"exact_match", "must_include"} & set(required):
        msg = f"required_contents has {', '.join(required) or 'nothing'}"
        raise ValueError(msg)
    return Target(
        entry["url"], entry["locator"], tuple(entry.get("prep_actions", ())), dict(required)
    )
