"""The shape of a model by its name alone: from this disk, or from a table of well-known ones.

Invariant: reads headers and small JSON files; nothing is downloaded and no weights are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from clawjax.config import ModelConfig
from clawjax.errors import ConfigError
from clawjax.models.architecture import Architecture
from clawjax.models.huggingface import is_hub_id
from clawjax.models.load import DEFAULT_MODEL, open_source
from clawjax.models.registry import architecture_from_config

__all__ = ["find_architecture", "known_models"]

_TABLE = Path(__file__).with_name("architectures.json")
_DEFAULT_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"


def find_architecture(model: ModelConfig) -> Architecture:
    """What `model.path` names: a local model, one in the hub's cache, or a well-known one.

    Raises:
        ConfigError: it is none of these, or a context above the model's positions.
    """
    architecture = _find(model)
    if model.context_length > architecture.max_positions:
        msg = (
            f"model.context_length={model.context_length} is above the "
            f"{architecture.max_positions} positions {model.path} was trained for: lower it"
        )
        raise ConfigError(msg)
    return architecture


def known_models() -> Mapping[str, Architecture]:
    """Hub ids and shapes of the table; each entry there names its source."""
    return _known()


@cache
def _known() -> dict[str, Architecture]:
    entries = json.loads(_TABLE.read_text(encoding="utf-8"))
    return {name: architecture_from_config(entry["config"]) for name, entry in entries.items()}


def _find(model: ModelConfig) -> Architecture:
    path = model.path
    if path == DEFAULT_MODEL:
        return _known()[_DEFAULT_ID]
    if not is_hub_id(path) or Path(path).expanduser().exists():
        return open_source(model, with_weights=False).architecture()
    cached = _cached_config(path, model.revision)
    if cached is not None:
        return architecture_from_config(cached)
    if path in _known():
        return _known()[path]
    msg = (
        f"model.path={path!r} is neither on this disk nor one of {', '.join(_known())}: "
        "give a directory with its config.json"
    )
    raise ConfigError(msg)


def _cached_config(hub_id: str, revision: str | None) -> dict[str, Any] | None:
    """`config.json` of an earlier download."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    return json.loads(Path(found).read_text(encoding="utf-8")) if isinstance(found, str) else None
