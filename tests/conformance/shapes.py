"""Whether an answer has every field of a recorded one, with values of the same types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

OWN_OF_SGLANG_JAX = {
    "routed_experts", "cache_miss_count", "hidden_states", "page_size", "dtype",
}  # fmt: skip
"""Fields of the recorded server that its protocol does not promise."""
OMITTED_WHERE_NULL = {"reasoning_content", "tool_calls", "matched_stop", "param"}
"""OpenAI's clients take their absence for null."""


def differences(recorded: Any, found: Any, path: str = "") -> Iterator[str]:
    """What is missing or of another type, one line each."""
    match recorded:
        case None | "(omitted)":
            return
        case dict():
            if not isinstance(found, dict):
                yield f"{path or 'body'}: an object became {type(found).__name__}"
                return
            for name, value in recorded.items():
                if name in OWN_OF_SGLANG_JAX:
                    continue
                if name not in found:
                    if not (value is None and name in OMITTED_WHERE_NULL):
                        yield f"{path}.{name} is missing"
                    continue
                yield from differences(value, found[name], f"{path}.{name}")
        case list():
            if not isinstance(found, list):
                yield f"{path}: an array became {type(found).__name__}"
                return
            for index, pair in enumerate(zip(recorded, found, strict=False)):
                yield from differences(*pair, f"{path}[{index}]")
        case bool() | str():
            if type(found) is not type(recorded):
                yield f"{path}: {type(recorded).__name__} became {type(found).__name__}"
        case _:
            if isinstance(found, bool) or not isinstance(found, int | float):
                yield f"{path}: a number became {type(found).__name__}"
