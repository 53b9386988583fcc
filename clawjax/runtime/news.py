"""What a person at the terminal should hear of versions: refusals and rollbacks, each once."""

from __future__ import annotations

import logging

from clawjax.errors import StoreError
from clawjax.weights import DirectoryWeightStore

__all__ = ["WeightNews"]

logger = logging.getLogger(__name__)


class WeightNews:
    """Looks for what happened in a weight store since it last looked."""

    def __init__(self, store: DirectoryWeightStore) -> None:
        """What is there already is no news."""
        self._store = store
        self._newest = 0
        self._rollbacks = 0
        self.read()

    def read(self) -> list[str]:
        """A line for each refusal and each rollback; cheap where nothing happened."""
        try:
            versions = self._store.versions(after=self._newest)
            rollbacks = self._store.rollbacks()[self._rollbacks :]
        except StoreError as error:
            logger.warning("no news of versions: %s", error)
            return []
        self._newest = max((version.version for version in versions), default=self._newest)
        self._rollbacks += len(rollbacks)
        refused = [
            f"Version {version.version} is kept and not served: {version.refused}"
            for version in versions
            if version.refused is not None
        ]
        back = [
            f"Version {rollback.to} is served in place of {rollback.was}, as somebody asked"
            for rollback in rollbacks
            if rollback.to != rollback.was
        ]
        return refused + back
