"""Settings that a folder's results are by: they are kept, and may not change as it goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.runtime.paths import read_json, write_json

__all__ = ["flat", "hold", "is_of"]

_TOLD = 5


def hold(file: Path, now: Mapping[str, Any], *, is_begun: bool, done: str = "learnt") -> None:
    """Keep the settings; once there are results by them, they are to stay.

    A folder of a version that kept nothing is gone on with. A setting that one of two versions
    does not have is not compared.

    Args:
        file: in the run's folder.
        now: the settings, by their dotted names, as JSON gives them back.
        is_begun: whether the folder has results.
        done: what was done by them, for people.

    Raises:
        ConfigError: the folder's results are by other settings.
    """
    held = read_json(file) if is_begun else {}
    differing = [key for key in now if key in held and held[key] != now[key]]
    if differing:
        told = [f"{key}={held[key]!r} there, {now[key]!r} now" for key in differing[:_TOLD]]
        more = len(differing) - len(told)
        msg = (
            f"run.dir={file.parent} holds what was {done} with other settings "
            f"({'; '.join(told)}{f'; and {more} more' if more else ''}): use another run.name, or "
            f"delete the folder; to go on in it all the same, delete its {file.name}"
        )
        raise ConfigError(msg)
    write_json(file, now)


def flat(config: Any, of: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted names."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from flat(value, f"{of}{field.name}.")
        else:
            yield f"{of}{field.name}", value


def is_of(key: str, names: tuple[str, ...]) -> bool:
    """Whether a setting is one of these, or in one of these groups."""
    return any(key == name or key.startswith(f"{name}.") for name in names)
