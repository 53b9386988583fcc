"""The weight store: every policy that was made, which of them is served, and how they descend."""

from clawjax.weights.lineage import Lineage
from clawjax.weights.pointer import Rollback
from clawjax.weights.store import DirectoryWeightStore

__all__ = ["DirectoryWeightStore", "Lineage", "Rollback"]
