"""What a run on a data set learns from, as a digest: a folder is gone on with by the same alone.

Invariant: a setting that came later and is at its default changes nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from clawjax.config import ObjectiveConfig, OfflineConfig, RunConfig
from clawjax.config.additions import drop_unset_additions
from clawjax.data.preferences import Row

__all__ = ["is_learnt_from", "learnt_from"]


def learnt_from(config: RunConfig, rows: Sequence[Row]) -> str:
    """Digest of what says which rows are in which batch, and what is learnt from them."""
    objective, offline = _deciding(config)
    settings = {"objective": dataclasses.asdict(objective), "offline": dataclasses.asdict(offline)}
    drop_unset_additions(settings)
    return _digest((settings, config.run.seed, *rows))


def is_learnt_from(held: str, config: RunConfig, rows: Sequence[Row]) -> bool:
    """Whether a folder's digest says the same; folders of earlier versions have another form."""
    earlier = _digest((*_deciding(config), config.run.seed, *rows))
    return held in (learnt_from(config, rows), earlier)


def _deciding(config: RunConfig) -> tuple[ObjectiveConfig, OfflineConfig]:
    """The settings, without where the files are and how far it goes."""
    return config.objective, dataclasses.replace(config.offline, batches=None, files=[])


def _digest(what: object) -> str:
    return hashlib.sha256(repr(what).encode("utf-8", "surrogatepass")).hexdigest()
