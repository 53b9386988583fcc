"""What a request looks like without its text: the tools it offers, and its outline for the log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import cast

from clawjax.linking.sides import Profile
from clawjax.records import Message, Origin

__all__ = ["shape_of", "tool_names"]

_SHOWN_ROLES = 12


@lru_cache(maxsize=64)
def tool_names(tools_json: str | None) -> frozenset[str]:
    """Names of the functions in a request's canonical tools; kept, as they seldom change."""
    if tools_json is None:
        return frozenset()
    names: set[str] = set()
    for tool in cast("list[object]", json.loads(tools_json)):
        match tool:
            case {"function": {"name": str() as name}}:
                names.add(name)
            case _:
                pass
    return frozenset(names)


def shape_of(
    origin: Origin, messages: Sequence[Message], profile: Profile, main: Profile | None
) -> str:
    """An outline of a request: roles in their order, counts and differences; none of its text."""
    runs = [(role, len(list(run))) for role, run in groupby(message.role for message in messages)]
    roles = " ".join(f"{role}{'' if n == 1 else f'*{n}'}" for role, n in runs[-_SHOWN_ROLES:])
    parts = [
        f"client={origin.client or '?'}",
        f"key={origin.key_source or 'none'}",
        f"roles={'... ' if len(runs) > _SHOWN_ROLES else ''}{roles}",
        f"tools={len(profile.tools)}",
        f"stream={'yes' if profile.is_stream else 'no'}",
    ]
    if main is not None:
        parts.append(f"instructions={'same' if main.system == profile.system else 'other'}")
    return " ".join(parts)
