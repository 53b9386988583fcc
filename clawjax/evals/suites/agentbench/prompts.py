"""Prompts of somebody else's in place of ours, for comparisons with published numbers.

Ours say the same as the published ones in other words; scores of two prompts are not comparable, so
the prompt's hash is part of the suite's version.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from clawjax.errors import ConfigError

__all__ = ["Prompt", "choose_prompt"]


class Prompt(NamedTuple):
    """What agents are told about the rules."""

    system: str
    text_rules: str
    """For agents without tool calls."""
    version: str
    """Empty for ours."""


def choose_prompt(path: str | None, *, system: str, text_rules: str) -> Prompt:
    """Ours, or the text of a file, which then is all that is said of the rules.

    Raises:
        ConfigError: the file cannot be read.
    """
    if path is None:
        return Prompt(system, text_rules, "")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        msg = f"suite.options.prompt={path} cannot be read ({error.strerror}): name a text file"
        raise ConfigError(msg) from error
    return Prompt(text, "", f"+prompt.{hashlib.sha256(text.encode()).hexdigest()[:8]}")
