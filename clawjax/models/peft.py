"""What peft's configuration says of a LoRA adapter.

Invariant: what is read is plain LoRA, `W + B A alpha / rank`; adapters that peft applies by another
formula are refused, not applied by this one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from clawjax.config import LoraConfig
from clawjax.errors import StoreError

__all__ = ["Difference", "PlainLora", "read_plain_lora"]

_OTHER_FORMULAS = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out")


class Difference(NamedTuple):
    """A setting under which the same numbers are another policy."""

    name: str
    """Of `learner.lora`."""
    theirs: object
    ours: object


class PlainLora(NamedTuple):
    """Settings of an adapter."""

    rank: int
    alpha: float
    targets: tuple[str, ...]
    """Names of modules; empty where they are a pattern."""

    @property
    def scale(self) -> float:
        """What `B A` is multiplied by."""
        return self.alpha / self.rank

    def difference(self, config: LoraConfig) -> Difference | None:
        """The first setting of which `config` says otherwise; None: they agree."""
        found = (
            Difference("rank", self.rank, config.rank),
            Difference("alpha", self.alpha, config.alpha),
            Difference("targets", list(self.targets), sorted(config.targets)),
        )
        return next((each for each in found if each.theirs != each.ours), None)


def read_plain_lora(file: Path) -> PlainLora:
    """An `adapter_config.json`.

    Raises:
        StoreError: unreadable, no LoRA adapter, or one of another formula.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{file} cannot be read ({error}): name a directory with an adapter"
        raise StoreError(msg) from error
    try:
        config = json.loads(text)
        named = config.get("target_modules") or ()
        targets = () if isinstance(named, str) else tuple(sorted(named))
        found = PlainLora(int(config["r"]), float(config["lora_alpha"]), targets)
        is_plain = config["peft_type"] == "LORA" and not any(map(config.get, _OTHER_FORMULAS))
        if found.rank < 1:
            msg = f"r={found.rank} is below 1"
            raise ValueError(msg)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{file} is not the configuration of a LoRA adapter ({error!r})"
        raise StoreError(msg) from error
    if not is_plain:
        msg = f"{file} asks for more than plain LoRA: {', '.join(_OTHER_FORMULAS)} are not applied"
        raise StoreError(msg)
    return found
